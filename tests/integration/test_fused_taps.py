"""Defenses at several taps, of all rows or a random part: an index, an exact scan, two processes and attackers."""

import shutil

import pytest

from tests.conftest import run
from tests.integration.test_processes import run_test_in_two


@pytest.fixture
def fused(built, tmp_path):
    """Several taps together, attacked by those who know it; with a database of its own, which is indexed."""
    model = built["model"]
    shutil.copytree(model["database"]["path"], tmp_path / "database")
    model["database"]["path"] = str(tmp_path / "database")
    knn = {"class_path": "FusedKNN", "init_args": {"taps": ["early", "late"], "k": [1, 5], "weightings": ["UW"]}}
    part = {"class_path": "RandomDatabase", "init_args": {"defense": knn, "share": 0.4}}
    model["defenses"] = [{"class_path": "NoDefense"}, knn, part]
    model["evaluations"] = 2
    model["threats"] = ["GrayBox", "WhiteBox"]
    soft = {"class_path": "PGD", "init_args": {"steps": 2, "objective": "SoftKNN"}}
    model["attacks"], model["deltas"] = [{"class_path": "PGD", "init_args": {"steps": 2}}, soft], [0.1]
    built["data"] |= {"num_queries": 30, "batch_size": 15}
    return built


@pytest.mark.slow
def test_a_scan_and_an_index_of_their_own_find_the_same(fused, mistake):
    del fused["model"]["database"]["index"]
    scanned = (run("test", fused) / "results.csv").read_bytes()
    assert b"white_box fused neighbors early+late" in scanned
    fused["model"]["database"]["index"] = "Faiss"
    assert "lit-knn index" in mistake("test", fused)  # that of both taps side by side is not built
    run("index", fused)
    assert (run("test", fused) / "results.csv").read_bytes() == scanned


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_find_the_same_and_reject_the_same(fused, tmp_path):
    del fused["model"]["database"]["index"]
    _, knn, part = fused["model"]["defenses"]
    rejecting = {"defense": knn, "confidence": "distance", "keep": [0.9, 0.6], "rows": 200}
    fused["model"]["defenses"] = [knn, part, {"class_path": "Rejecting", "init_args": rejecting}]
    run("index", fused)  # the thresholds
    alone = (run("test", fused) / "results.csv").read_bytes()
    assert b"white_box rejecting" in alone
    assert (run_test_in_two(fused, tmp_path / "two") / "results.csv").read_bytes() == alone
