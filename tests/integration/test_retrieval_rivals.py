"""The defenses that retrieve beside kNN, from YAML to the table, with the attackers that come with each."""

import csv

import pytest

from tests.conftest import run

RIVALS = [
    "NoDefense",
    {"class_path": "RACNN", "init_args": {"tap": "late", "k": 5, "layer": "layer3.1.add"}},
    {"class_path": "DeepKNN", "init_args": {"taps": ["early", "late"], "k": 5, "calibration": 100}},
    {"class_path": "KNN", "init_args": {"taps": ["late"], "k": [5], "weightings": ["UW", "Similarity"]}},
]
ATTACKS = [
    {"class_path": "PGD", "init_args": {"steps": 3, "objective": "SoftKNN"}},
    {"class_path": "PGD", "init_args": {"steps": 3, "objective": "DefenseMargin"}},
    {"class_path": "Square", "init_args": {"queries": 5}},
]


@pytest.fixture
def rivals(built):
    built["model"] |= {"defenses": RIVALS, "threats": ["WhiteBox"], "attacks": ATTACKS, "deltas": [0.3]}
    built["data"]["num_queries"] = 30
    return built


def test_each_fills_its_line_and_brings_its_attackers(rivals, config, mistake):
    rivals["model"]["database"]["path"] = config["model"]["database"]["path"]
    for command in ("extract", "index"):
        run(command, rivals)
    with (run("test", rivals) / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["topk"] == "1"]
    clean = {(row["defense"], row["weighting"]): float(row["accuracy"]) for row in rows if float(row["delta"]) == 0}
    assert clean.keys() == {
        ("none", ""),
        ("RA-CNN (training-free)", ""),
        ("DkNN", ""),
        ("kNN", "UW"),
        ("kNN", "cosine(T=0.07)"),
    }
    assert min(clean.values()) > 0.8
    tried = {(row["threat"], row["attack"]) for row in rows}
    assert {threat for threat, _ in tried if threat.startswith("white_box")} == {
        "white_box fused votes early+late K=5 UW soft",
        "white_box late",
        "white_box late cosine(T=0.07)",
        "white_box DkNN early+late K=5",
        "white_box RA-CNN (training-free) late K=5",
    }
    assert ("white_box RA-CNN (training-free) late K=5", "PGD-defense") in tried
    assert ("white_box late", "PGD-soft-kNN") in tried
    assert ("white_box DkNN early+late K=5", "PGD-defense") not in tried  # it has no gradient


def test_what_is_not_built_is_told(rivals, mistake):
    assert "run `lit-knn index` again" in mistake("test", rivals)
