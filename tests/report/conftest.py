import math

import pytest

from lit_knn.report.results import Record, Variant
from lit_knn.report.results.intervals import wilson


def make_cost(defense, seconds, random=False, gradient="own", passes=1.0):
    known = {"defense": defense, "random": random, "gradient": gradient, "passes": passes}
    return known | {"images": 100, "seconds": seconds, "cpu_seconds": 2 * seconds}


def make_record(
    cases=(("gray_box", "PGD"), ("black_box", "PGD")),
    taps=("layer1", "layer2"),
    deltas=(0.0, 0.02, 0.06),
    sizes=(50_000,),
    norm="relative_l2",
):
    variants = [("none", "", "", "", "", "")]
    variants += [
        ("kNN", tap, k, weighting, combination, size)
        for size in sizes
        for tap in taps
        for combination in ("soft", "hard")
        for k in (10, 50)
        for weighting in ("UW", "CBW-E", "CBW-D")
    ]
    rows = []
    for threat, attack in cases:
        for delta in deltas:
            for number, variant in enumerate(Variant(*fields) for fields in variants):
                kept = math.exp(-(60 if number == 0 else 5 + number) * delta)
                correct = max(0, round(1000 * kept) - number)
                low, high = wilson(correct, 1000)
                row = {"threat": threat, "attack": attack, "norm": norm, "delta": delta, **variant._asdict()}
                for topk in (1, 5):
                    row |= {"topk": topk, "correct": correct, "n": 1000, "accuracy": correct / 1000}
                    row |= {"low": low.item(), "high": high.item()}
                    row |= {"delta_mean": delta * 0.99, "delta_max": delta, "normalized_delta_mean": delta * 2}
                    rows.append(dict(row))
    return Record(
        run="made-up",
        created="2026-11-24T12:00:00+00:00",
        seconds={"attack": 1.5},
        config={"seed_everything": 0, "queries": "tests/ΔΔ"},
        versions={"torch": "2.14"},
        git="",
        seed=0,
        fingerprints={"classifier": "resnet-0123"},
        queries={"count": 1000},
        database={"rows": 50_000, "skipped": [[3, "cat/3.png", "truncated"]]},
        warnings=[],
        passes=[{"threat": "gray_box", "attack": "PGD", "delta": 0.06, "forward": 10_000, "backward": 10_000}],
        costs=[
            make_cost("none", 0.001),
            make_cost("noisy ×30", 0.0305, random=True, gradient="lent", passes=30.0),
        ],
        results=rows,
    )


@pytest.fixture
def record():
    return make_record()
