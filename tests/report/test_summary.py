import dataclasses

import pytest

from lit_knn.report.headline import headline
from lit_knn.report.summary import speaking_delta, summary
from tests.report.conftest import make_record


def test_it_speaks_of_the_smallest_delta_that_breaks_the_undefended_network():
    record = make_record(cases=[("gray_box", "PGD")], deltas=(0.0, 0.02, 0.06))  # none: 1.0, .301, .027
    first, last = summary(record).splitlines()
    assert first.startswith("gray box, PGD: at Δ = 0.02 the accuracy is none .301, kNN layer1 ")
    assert first.endswith("(1.000 clean, undefended).")
    assert "do not know the defense" in last


def test_a_run_without_the_undefended_network_speaks_of_its_first_defense():
    record = make_record(cases=[("gray_box", "PGD")], deltas=(0.0, 0.02))
    record = dataclasses.replace(record, results=[row for row in record.results if row["defense"] != "none"])
    first = summary(record).splitlines()[0]
    clean = {row["accuracy"] for row in record.results if row["tap"] == "layer1" and row["delta"] == 0}
    assert any(first.endswith(f"({f'{value:.3f}'.removeprefix('0')} clean, kNN layer1).") for value in clean)


def test_of_many_lines_the_best_is_named():
    taps = tuple(f"layer{number}" for number in range(8))
    record = make_record(cases=[("gray_box", "PGD")], deltas=(0.0, 0.02), taps=taps)
    rows = [row for row in record.results if row["delta"] == 0.02 and row["topk"] == 1]
    shown = headline(rows).panels[0].lines
    best = max((line for line in shown if line.label != "none"), key=lambda line: line.rows[0]["accuracy"])
    sentence = summary(record).splitlines()[0]
    kept = f"{best.rows[0]['accuracy']:.3f}".removeprefix("0")
    assert f"is none .301; most of 8 others keeps {best.label}, {kept} (1.000 clean, undefended)." in sentence


def test_an_unbroken_network_is_spoken_of_at_the_largest_delta():
    record = make_record(cases=[("gray_box", "PGD")], deltas=(0.0, 0.001, 0.002))
    assert "at Δ = 0.002" in summary(record)


def test_one_sentence_per_case_and_no_warning_about_neighbors_where_there_are_none():
    assert len(summary(make_record()).splitlines()) == 3
    assert len(summary(make_record(taps=())).splitlines()) == 2


@pytest.mark.parametrize("precision", ["", " in bf16-mixed"])
def test_another_network_that_retrieves_is_named(precision):
    record = make_record()
    named = dataclasses.replace(record, database={"network": f"vit-small-0123456789abcdef{precision}"})
    (sentence,) = set(summary(named).splitlines()) - set(summary(record).splitlines())
    assert sentence.startswith("Neighbors are found by the features of vit-small, not by the classifier's")
    without = dataclasses.replace(make_record(taps=()), database=named.database)
    assert "vit-small" not in summary(without)


def test_of_many_attacks_the_strongest_is_named_for_each_defense():
    cases = [(threat, attack) for threat in ("gray_box", "white_box late") for attack in ("FGSM", "PGD")]
    record = make_record(cases=[*cases, ("all", "worst case")], deltas=(0.0, 0.06))
    lines = summary(record).splitlines()
    variants = {(row["defense"], row["tap"]) for row in record.results}
    assert len(lines) == len(variants)  # one for each defense, and no warning that the attackers do not know it
    accuracy = {
        (row["threat"], row["attack"]): row["accuracy"]
        for row in record.results
        if row["defense"] == "none" and row["delta"] and row["topk"] == 1
    }
    worst = accuracy.pop(("all", "worst case"))
    strongest = min(accuracy, key=accuracy.get)
    assert lines[0] == (
        f"none: of 1.000, all attacks leave {worst:.3f} at Δ = 0.06; the strongest alone is "
        f"{strongest[0].replace('_', ' ')}, {strongest[1]} ({accuracy[strongest]:.3f})."
    ).replace(" 0.0", " .0").replace("(0.0", "(.0").replace("Δ = .06", "Δ = 0.06")


def test_a_black_box_of_another_name_does_not_know_the_defense_either():
    record = make_record(cases=[("black_box", "PGD"), ("black_box vgg", "PGD")])
    assert "do not know the defense" in summary(record)
    config = {
        "model": {
            "threats": [{"class_path": "lit_knn.threat_models.white_box.WhiteBox", "init_args": {"name": "half"}}]
        }
    }
    record = dataclasses.replace(make_record(cases=[("half layer1", "PGD-FS")]), config=config)
    assert "do not know the defense" not in summary(record)


def test_a_cascade_knows_the_defense_if_one_of_its_threats_does():
    record = make_record(cases=[("all", "worst case")])
    assert "do not know the defense" in summary(record)
    fingerprints = {**record.fingerprints, "copy of white_box late": {}}
    assert "do not know the defense" not in summary(dataclasses.replace(record, fingerprints=fingerprints))


def test_the_delta_of_tables_is_that_of_the_worst_case():
    cases = [("gray_box", "PGD"), ("all", "worst case")]
    record = make_record(cases, deltas=(0.0, 0.02, 0.06))  # the undefended network falls below .5 at .02
    assert speaking_delta(record) == 0.02
    strong = [row | {"accuracy": 1.0} if row["threat"] == "gray_box" else row for row in record.results]
    assert speaking_delta(dataclasses.replace(record, results=strong)) == 0.02
    weak = [row | {"accuracy": 1.0} if row["threat"] == "all" else row for row in record.results]
    assert speaking_delta(dataclasses.replace(record, results=weak)) == 0.06
