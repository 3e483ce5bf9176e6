import dataclasses

import pytest

from lit_knn.report.figures.attacker_databases import OVERLAP, ROWS, attacker_points, percent
from tests.report.conftest import make_record


def record(*boxes):
    """A run of a gray box, and of white boxes with these arguments at two taps, whose accuracies tell them apart."""
    names = [f"box_{number}" for number in range(len(boxes))]
    cases = [("gray_box", "PGD"), *((f"{name} {tap}", "PGD-FS") for name in names for tap in ("layer1", "layer2"))]
    made = make_record(cases, sizes=(1000,))
    threats = [{"class_path": "lit_knn.threat_models.GrayBox"}]
    threats += [
        {"class_path": "WhiteBox", "init_args": box | {"name": name}} for name, box in zip(names, boxes, strict=True)
    ]
    rows = [
        row | {"accuracy": row["accuracy"] / (2 + int(row["threat"].split()[0][4:]))}
        if "box_" in row["threat"][:4]
        else row
        for row in made.results
    ]
    return dataclasses.replace(made, config={"model": {"threats": threats}}, results=rows)


def test_attackers_by_the_size_of_their_database():
    made = record({"rows": 0.05}, {"rows": 200}, {"rows": None})
    ((sweep, points),) = attacker_points(made).items()
    assert sweep is ROWS
    assert {p.x for p in points} == {0.05, 0.2, 1.0}  # 200 of 1,000
    assert {(p.line, p.panel, p.series) for p in points} == {(f"kNN layer{n}", "white box", "") for n in (1, 2)}
    assert len(points) == 2 * 3 * 3
    wanted = {"tap": "layer2", "k": 50, "weighting": "CBW-D", "combination": "soft", "delta": 0.06, "topk": 1}
    for x, name in ((0.05, "box_0"), (1.0, "box_2")):
        rows = [r for r in made.results if wanted.items() <= r.items() and r["threat"].startswith(f"{name} ")]
        (point,) = (p for p in points if (p.x, p.line, p.size[1]) == (x, "kNN layer2", 0.06))
        assert point.accuracy == min(row["accuracy"] for row in rows)


def test_attackers_by_the_overlap_and_one_that_belongs_to_both():
    boxes = [{"rows": 0.1}, {"rows": 0.5}, {}, {"overlap": 0.0}, {"overlap": 0.5}]
    found = attacker_points(record(*boxes))
    assert {sweep: {p.x for p in points} for sweep, points in found.items()} == {
        ROWS: {0.1, 0.5, 1.0},
        OVERLAP: {0.0, 0.5, 1.0},
    }


def test_several_groups_are_series():
    boxes = [{"rows": rows, "overlap": overlap} for overlap in (0.5, 1.0) for rows in (0.1, 0.2, 0.4)]
    points = attacker_points(record(*boxes))[ROWS]
    assert {p.series for p in points} == {"overlap 50 %", "overlap 100 %"}


@pytest.mark.parametrize("boxes", [[], [{}], [{"rows": 0.1}, {}], [{"rows": 0.1}, {"overlap": 0.5}, {}]])
def test_less_than_three_that_differ_in_one_thing_are_no_curve(boxes):
    assert attacker_points(record(*boxes)) == {}


def test_shares_in_words():
    assert [percent(share) for share in (0, 0.025, 1 / 3, 1)] == ["0 %", "2.5 %", "33.3 %", "100 %"]
