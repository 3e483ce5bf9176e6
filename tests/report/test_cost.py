import dataclasses

from lit_knn.report.cost import mean_passes
from tests.report.conftest import make_record


def row(attack, delta, forward, backward):
    return {"threat": "gray_box", "attack": attack, "delta": delta, "forward": forward, "backward": backward}


def test_passes_of_an_image_by_attack_and_all_together():
    record = make_record()  # of 1,000 images
    assert mean_passes(dataclasses.replace(record, passes=[])) == {}
    passes = [row("PGD", 0.02, 10_000, 10_000), row("PGD", 0.06, 3_000, 240), row("Square", 0.06, 1_001_000, 0)]
    assert mean_passes(dataclasses.replace(record, passes=passes)) == {
        "gray box, PGD": {0.02: "20", 0.06: "3.2"},
        "gray box, Square": {0.06: "1,001"},
        "all, worst case": {0.02: "20", 0.06: "1,004"},
    }
