import dataclasses

from lit_knn.report.attackers import attackers, condensed, knows_defense
from lit_knn.report.results.record import variant
from tests.report.conftest import make_record

WHITE = [("white_box layer1", "PGD-FS"), ("white_box layer2", "PGD-FS"), ("white_box layer2", "Square")]


def lowered(record, changes):
    """Give the rows of some cases another accuracy, at every Δ above 0."""
    rows = []
    for row in record.results:
        accuracy = changes.get((row["threat"], row["attack"], row["tap"]))
        rows.append(row if accuracy is None or row["delta"] == 0 else row | {"accuracy": accuracy})
    return dataclasses.replace(record, results=rows)


def test_the_strongest_attack_of_each_attacker_and_variant():
    record = make_record([("gray_box", "PGD"), ("gray_box", "APGD"), *WHITE, ("all", "worst case")])
    record = lowered(record, {("gray_box", "APGD", "layer1"): 0.01, ("white_box layer2", "Square", "layer2"): 0.002})
    gray, white, worst = attackers(record)
    assert (gray.title, white.title, worst.title) == ("gray box", "white box", "worst case")
    assert (gray.adaptive, white.adaptive, worst.adaptive) == (False, True, False)
    assert (gray.attacks, white.attacks) == (["PGD", "APGD"], ["PGD-FS", "Square"])
    assert {r["attack"] for r in gray.rows if r["tap"] == "layer1" and r["delta"]} == {"APGD"}
    assert {r["attack"] for r in gray.rows if r["tap"] == "layer2" and r["delta"]} == {"PGD"}
    assert {r["attack"] for r in white.rows if r["tap"] == "layer2" and r["delta"]} == {"Square"}
    keys = [(variant(row), row["delta"], row["topk"]) for row in gray.rows]
    assert len(keys) == len(set(keys)) == len(record.results) / 6  # of six cases
    for row in gray.rows:  # none of the gray box's attacks leaves less
        same = [
            r
            for r in record.results
            if (variant(r), r["delta"], r["topk"], r["threat"]) == (variant(row), row["delta"], row["topk"], "gray_box")
        ]
        assert row["accuracy"] == min(r["accuracy"] for r in same)


def test_an_undefended_network_is_no_matter_for_a_white_box():
    white = attackers(make_record(WHITE))[0]
    assert {row["defense"] for row in white.rows} == {"kNN"}


def test_names_come_from_the_configuration():
    record = make_record(
        [("mine", "PGD"), ("vgg", "PGD"), ("vgg wide", "PGD"), ("half layer1", "PGD-FS"), ("odd", "X")]
    )
    threats = [
        {"class_path": "lit_knn.threat_models.gray_box.GrayBox"},
        {"class_path": "lit_knn.threat_models.black_box.BlackBox", "init_args": {"name": "vgg"}},
        {"class_path": "lit_knn.threat_models.white_box.WhiteBox", "init_args": {"name": "half"}},
        {"class_path": "my.own.Spy", "init_args": {"name": "mine"}},
    ]
    record = dataclasses.replace(record, config={"model": {"threats": threats}})
    assert [(a.title, a.adaptive) for a in attackers(record)] == [
        ("mine", False),
        ("vgg", False),
        ("half", True),
        ("odd", False),
    ]
    assert knows_defense(record)
    assert not knows_defense(dataclasses.replace(record, config={}))  # nothing says that "half" is a white box


def test_who_is_called_after_all_networks_is_not_the_worst_case():
    record = make_record([("all networks", "PGD"), ("all", "worst case")])
    networks, worst = attackers(record)
    assert (networks.title, networks.worst_case, networks.attacks) == ("all networks", False, ["PGD"])
    assert (worst.title, worst.worst_case, worst.attacks) == ("worst case", True, ["worst case"])


def test_one_case_for_each_attacker():
    record = condensed(make_record([("gray_box", "PGD"), *WHITE, ("all", "worst case")]))
    cases = dict.fromkeys((row["threat"], row["attack"]) for row in record.results)
    assert list(cases) == [("gray box", "PGD"), ("white box", "strongest of 2 attacks"), ("all", "worst case")]
