import io
import json
import math

import pytest
from PIL import Image

from lit_knn.report.results import Record, Variant
from lit_knn.report.results.inspected import INSPECTED_FILE, INSPECTED_FOLDER
from lit_knn.report.results.intervals import wilson
from lit_knn.storage.fingerprint import digest


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


def make_inspected(run):
    """Write two queries, clean and attacked in two cases, with two neighbors at each of two taps."""
    sheets, queries = [], []
    for query in range(2):
        number = iter(range(100))

        def seen(number=number, query=query):
            return {"picture": next(number), "predicted": f"class {query}", "confidence": 0.5, "correct": query == 0}

        versions = [
            seen()
            | {"case": case, "size": size, "realized": 0.1, "gain": 3.0}
            | {"difference": next(number) if case >= 0 else -1}
            | {
                "neighbors": [
                    [seen() | {"row": 1000 * tap + k, "distance": k + 0.5, "weight": 2.0} for k in range(2)]
                    for tap in range(2)
                ]
            }
            for case, size in ((-1, -1), (0, 0), (1, 0))
        ]
        queries.append({"label": f"<{query}>", "versions": versions})
        sheet = io.BytesIO()
        Image.new("RGB", (16 * 8, 16), (100 * query, 0, 0)).save(sheet, "PNG")
        name = f"{digest(sheet.getvalue().hex())}.png"
        sheets.append(name)
        (run.folder / INSPECTED_FOLDER).mkdir(exist_ok=True)
        (run.folder / INSPECTED_FOLDER / name).write_bytes(sheet.getvalue())
    content = {"run": digest(run.record.fingerprints), "cases": ["gray", "black"], "sizes": ["Δ = 0.1"]}
    content |= {"taps": ["early", "late"], "picture": [8, 8], "columns": 16, "sheets": sheets, "queries": queries}
    (run.folder / INSPECTED_FOLDER / INSPECTED_FILE).write_text(json.dumps(content))
