import dataclasses

from lit_knn.report.figures.neighbor_counts import neighbor_points
from tests.report.conftest import make_record

CASES = [("gray_box", "PGD"), ("gray_box", "APGD"), ("all", "worst case")]


def record(counts=(1, 5, 10, 50), **changes):
    """A record whose accuracies tell the number of neighbors."""
    made = make_record(CASES, taps=("layer1",), **changes)
    rows = [row for row in made.results if row["k"] != 50]
    more = [
        row | {"k": k, "accuracy": row["accuracy"] * (1 - k / 1000)} for row in rows if row["k"] == 10 for k in counts
    ]
    return dataclasses.replace(made, results=[row for row in rows if row["k"] == ""] + more)


def test_a_point_for_each_number_of_neighbors_attacker_and_size():
    points = neighbor_points(record())
    assert {(p.line, p.series) for p in points} == {("kNN layer1", "")}
    assert {p.panel for p in points} == {"gray box", "worst case"}
    assert {p.x for p in points} == {1, 5, 10, 50}
    assert len(points) == len(set(points)) == 2 * 4 * 3
    wanted = {"k": 5, "weighting": "CBW-D", "combination": "soft", "delta": 0.06, "topk": 1, "threat": "gray_box"}
    rows = [row for row in record().results if wanted.items() <= row.items()]
    (point,) = (p for p in points if (p.panel, p.x, p.size[1]) == ("gray box", 5, 0.06))
    assert point.accuracy == min(row["accuracy"] for row in rows)  # the strongest attack


def test_each_size_of_the_database_has_panels_of_its_own():
    points = neighbor_points(record(sizes=(5_000, 50_000)))
    assert {p.panel for p in points} == {
        f"{a}, {n} rows" for a in ("gray box", "worst case") for n in ("5,000", "50,000")
    }


def test_two_numbers_are_no_curve_and_neither_are_three_of_several_defenses():
    assert neighbor_points(record(counts=(10, 50))) == []
    assert neighbor_points(make_record(taps=())) == []
    made = record(counts=(10, 50))
    other = [row | {"defense": "DkNN", "k": 75} for row in made.results if row["k"] == 10]
    assert neighbor_points(dataclasses.replace(made, results=[*made.results, *other])) == []
