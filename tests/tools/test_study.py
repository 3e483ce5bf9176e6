"""Numbers in sentences of the results page, each as the record of its run has it."""

import json
from pathlib import Path

import pytest

from lit_knn.report.results import Record

STUDY = Path(__file__).parents[2] / "tools" / "records" / "study"
TEXT = " ".join((STUDY / "README.md").read_text().split())
MIDDLE, LATE = {"tap": "layer2.8.add"}, {"tap": "layer3.8.add"}
GRAY, BLACK = {"threat": "gray_box"}, {"threat": "black_box"}
NONE = {"tap": ""}


def accuracy(run, delta, **key):
    """Return the soft CBW-D vote of K = 50 and the largest database, unless the key says otherwise; or no defense."""
    usual = {} if key["tap"] == "" else {"weighting": "CBW-D", "combination": "soft", "k": 50}
    wanted = {"topk": 1, "delta": delta} | usual | key
    record = Record.load(STUDY / run / "record.json")
    found = [row for row in record.results if wanted.items() <= row.items()]
    largest = max(row["rows"] for row in found)
    (row,) = [row for row in found if row["rows"] == largest]
    return f"{row['accuracy']:.3f}".removeprefix("0")


@pytest.mark.parametrize(
    ("sentence", "cells"),
    [
        (
            "the last layer keeps {} of {}, the one before {} of {}",
            [("imagenette/figure4", d, GRAY | {"tap": tap}) for tap in ("last", "late") for d in (0.06, 0)],
        ),
        (
            "on CIFAR-10 {} of {} and {} of {}",
            [("cifar10/figure4", delta, GRAY | tap) for tap in (LATE, MIDDLE) for delta in (0.06, 0)],
        ),
        (
            "from {} to {} between 500 and 50,000 rows, and from {} to {} at Δ = 0.01, but only from {} to {} at",
            [
                ("cifar10/figure5", delta, GRAY | MIDDLE | {"rows": rows})
                for delta in (0, 0.01, 0.06)
                for rows in (500, 50_000)
            ],
        ),
        (
            "the last layer keeps {} of {} at Δ = 0.06 where no defense keeps {} of {}",
            [("imagenette/figure4", delta, BLACK | tap) for tap in ({"tap": "last"}, NONE) for delta in (0.06, 0)],
        ),
        (
            "PGD-FS leaves {} to one who has 5 % of as many rows, and {} to one who has all",
            [
                ("imagenette/figure6b", 0.08, {"threat": f"{who} last", "tap": "last"})
                for who in ("5 % of the rows", "all rows")
            ],
        ),
        (
            "it matters less, {} against {} of 25 images",
            [
                ("imagenette_swapped/figure6b", 0.08, {"threat": f"{who} last", "tap": "last"})
                for who in ("5 % of the rows", "all rows")
            ],
        ),
        (
            "do nearly as well, {} against {} at Δ = 0.08, two of",
            [("imagenette/figure6c", 0.08, {"threat": f"{share} % overlap last", "tap": "last"}) for share in (0, 100)],
        ),
        ("{} against {}, and sooner", [("cifar10/figure3", 0, GRAY | MIDDLE | {"k": k}) for k in (10, 50)]),
        ("in the gray box**, {} at Δ = 0.06 against", [("cifar10/table1", 0.06, GRAY | LATE)]),
        (
            "PGD-PR and PGD-FS leave {} and {} at Δ = 0.01, PGD {} (",
            [("cifar10/figure6a", 0.01, {"attack": name} | LATE) for name in ("PGD-PR", "PGD-FS", "PGD")],
        ),
        (
            "{} with 5 % of as many rows at Δ = 0.01, {} with all, and {} with rows none",
            [
                (f"cifar10/figure6{panel}", 0.01, {"threat": f"{who} layer3.8.add"} | LATE)
                for panel, who in (("b", "5 % of the rows"), ("b", "all rows"), ("c", "0 % overlap"))
            ],
        ),
        ("{} clean, as no network here", [("cifar10/table2", 0, GRAY | NONE | {"defense": "crop ensemble"})]),
        (
            "enlarged parts, from {} to {}, and SqueezeNet, which kept the scale of its images, from {} to {}",
            [
                (f"{study}/table2", 0, GRAY | NONE | {"defense": defense})
                for study in ("imagenette", "imagenette_swapped")
                for defense in ("none", "crop ensemble")
            ],
        ),
        (
            "{} against {} on photographs and {} against {} with the networks swapped",
            [
                (f"{study}/table2", 0.06, GRAY | key)
                for study in ("imagenette", "imagenette_swapped")
                for key in (NONE | {"defense": "quilting"}, {"tap": "last", "defense": "kNN"})
            ],
        ),
    ],
)
def test_numbers_in_sentences_are_those_of_the_records(sentence, cells):
    assert sentence.format(*(accuracy(run, delta, **key) for run, delta, key in cells)) in TEXT


def test_the_share_of_images_is_that_of_the_benchmark():
    *_, whole = json.loads((STUDY.parent / "bench_paper.json").read_text())["results"]
    assert whole["name"].startswith("all tests")
    assert f"Networks see {whole['ratio']:.2f} of the images".replace("0.", ".") in TEXT
