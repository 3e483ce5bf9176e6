"""A defense that rejects, through the command line: thresholds are built, lines counted, and one report shows both."""

import csv
import shutil

import pytest

from lit_knn.report.command import report
from tests.conftest import run


@pytest.fixture
def rejecting(built, tmp_path):
    """By agreement and by distance, attacked by who knows it; with a database of its own, which gets thresholds."""
    model = built["model"]
    shutil.copytree(model["database"]["path"], tmp_path / "database")
    model["database"] |= {"path": str(tmp_path / "database")}
    del model["database"]["index"]
    knn = {"class_path": "KNN", "init_args": {"taps": ["late"], "k": [5], "weightings": ["UW"]}}
    kinds = [
        {"defense": knn, "confidence": kind, "keep": [0.9, 0.6], "rows": 200} for kind in ("agreement", "distance")
    ]
    model["defenses"] = [knn, *({"class_path": "Rejecting", "init_args": kind} for kind in kinds)]
    model["threats"], model["deltas"] = ["GrayBox", "WhiteBox"], [0.25]
    soft = {"class_path": "PGD", "init_args": {"steps": 5, "objective": "SoftKNN"}}
    model["attacks"] = [{"class_path": "PGD", "init_args": {"steps": 3}}, soft]
    built["data"] |= {"num_queries": 30, "batch_size": 15}
    return built


def test_thresholds_are_built_counted_and_reported(rejecting, tmp_path, mistake):
    assert "run `lit-knn index`" in mistake("test", rejecting)
    run("index", rejecting)
    folder = run("test", rejecting)
    with (folder / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["topk"] == "1"]
    threats = {row["threat"] for row in rows}
    assert len([threat for threat in threats if threat.startswith("white_box rejecting by")]) == 4
    cells = {}
    for row in rows:
        if row["rejected"]:
            key = row["threat"], row["attack"], row["delta"], row["defense"], row["keep"]
            cells.setdefault(key, {})[row["rejected"]] = int(row["correct"])
    plain = {row["delta"]: int(row["correct"]) for row in rows if row["defense"] == "kNN" and row["threat"] == "all"}
    for (threat, _, delta, _, _), both in cells.items():
        assert both["wrong"] <= both["right"]
        if threat == "all":  # who rejects is no more often wrong, and no more often right
            assert both["wrong"] <= plain[delta]
            assert delta != "0.0" or 30 - both["right"] <= 30 - plain[delta]
    report([str(folder), "--output", str(tmp_path / "report")])
    assert (tmp_path / "report" / f"coverage-{folder.name}.png").exists()
