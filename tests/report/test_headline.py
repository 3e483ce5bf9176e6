from lit_knn.report.headline import headline
from lit_knn.report.results import Variant
from tests.report.conftest import make_record


def only(rows, **wanted):
    return [row for row in rows if row["defense"] == "none" or all(row[f] in v for f, v in wanted.items())]


def labels(shown):
    return [line.label for line in shown.panels[0].lines]


def test_largest_k_cbw_d_and_soft_at_top_1():
    shown = headline(make_record().results)
    assert labels(shown) == ["none", "kNN layer1", "kNN layer2"]
    assert (shown.shared, shown.hidden, shown.topk) == ("K=50, CBW-D, soft", 22, 1)
    assert [panel.title for panel in shown.panels] == ["gray box, PGD", "black box, PGD"]
    for panel in shown.panels:
        for line in panel.lines:
            assert [row["delta"] for row in line.rows] == [0.0, 0.02, 0.06]
            assert {row["topk"] for row in line.rows} == {1}
            assert {row["weighting"] for row in line.rows} in ({""}, {"CBW-D"})


def test_without_the_preferred_ones_all_are_shown_and_named():
    rows = only(make_record(taps=["layer1"]).results, weighting=["UW", "CBW-E"], combination=["hard"])
    shown = headline(rows)
    assert labels(shown) == ["none", "kNN layer1 UW", "kNN layer1 CBW-E"]
    assert (shown.shared, shown.hidden) == ("K=50, hard", 2)


def test_of_several_databases_the_largest_is_shown_and_named():
    found = headline(make_record(taps=("layer1",), sizes=(100, 1000)).results)
    assert found.shared == "K=50, CBW-D, soft, N=1000"
    assert {row["rows"] for panel in found.panels for line in panel.lines for row in line.rows} == {"", 1000}


def test_a_defense_without_neighbors_keeps_its_line():
    rival = [row | {"defense": "jpeg"} for row in make_record().results if row["defense"] == "none"]
    assert labels(headline(make_record().results + rival)) == ["none", "kNN layer1", "kNN layer2", "jpeg"]


def test_nothing_but_no_defense():
    shown = headline(only(make_record().results, k=[]))
    assert (labels(shown), shown.shared, shown.hidden) == (["none"], "", 0)


def test_all_protocols_of_several_evaluations_are_shown_and_explained():
    plain = make_record(taps=("layer1",))
    lines = [line._asdict() for line in Variant("crop").evaluated(10)]
    rows = [row | line for row in plain.results if row["defense"] == "none" for line in lines]
    shown = headline([*plain.results, *rows])
    assert labels(shown) == ["none", "kNN layer1", "crop mean-of-10", "crop worst-of-10", "crop majority-of-10"]
    assert shown.shared == "K=50, CBW-D, soft"
    assert shown.protocol.startswith("mean-of-n: share of n evaluations")
    assert headline(plain.results).protocol == ""


def test_the_worst_case_is_found_wherever_it_stands():
    cases = [("gray_box", "PGD"), ("all", "worst case"), ("black_box", "PGD")]
    assert headline(make_record(cases).results).worst.title == "all, worst case"
    assert headline(make_record(cases[:1]).results).worst.title == "gray box, PGD"
