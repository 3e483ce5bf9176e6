import dataclasses

from lit_knn.report.cost import COST_HEAD, cost_rows, mean_passes
from tests.report.conftest import make_record


def row(attack, delta, forward, backward):
    return {"threat": "gray_box", "attack": attack, "delta": delta, "forward": forward, "backward": backward}


def test_passes_of_an_image_by_attack_and_all_together():
    record = make_record()  # of 1,000 images
    assert mean_passes(dataclasses.replace(record, passes=[])) == {}
    passes = [row("PGD", 0.02, 10_000, 10_000), row("PGD", 0.06, 3_000, 240), row("Square", 0.06, 1_001_000, 0)]
    assert mean_passes(dataclasses.replace(record, passes=passes)) == {
        ("gray_box", "PGD"): {0.02: "20", 0.06: "3.2"},
        ("gray_box", "Square"): {0.06: "1,001"},
        ("all", "worst case"): {0.02: "20", 0.06: "1,004"},
    }


def test_defenses_beside_none():
    record = make_record()
    assert cost_rows(dataclasses.replace(record, costs=[])) == []
    assert [dict(zip(COST_HEAD, row, strict=True)) for row in cost_rows(record)] == [
        {"defense": "none", "random": "no", "gradient": "own", "passes": "1", "images/s": "1,000", "× none": "1.00"},
        {
            "defense": "noisy ×30",
            "random": "yes",
            "gradient": "lent",
            "passes": "30",
            "images/s": "32.8",
            "× none": "30.5",
        },
    ]
