"""What a comparison says to other programs."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from lit_knn.report.comparison.differences import LEVEL, Comparison, Difference
from lit_knn.report.comparison.document import cautions
from lit_knn.report.results.runs import Run
from lit_knn.report.results.variant import Variant

COLUMNS = (
    *("threat", "attack", "norm", "delta", *Variant._fields, "topk", "accuracy_a", "accuracy_b", "difference"),
    *("low", "high", "only_a", "only_b", "test", "p", "p_holm", "beyond"),
)


def as_csv(found: Comparison) -> str:
    """Return a line for each result of both runs, the largest difference first; floats by repr."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(map(_flat, found.differences))
    return text.getvalue()


def as_json(a: Run, b: Run, found: Comparison) -> str:
    """Return all of it: folders, what to know, settings that differ, differences, and rows that only one record has."""
    content = {
        "a": str(a.folder),
        "b": str(b.folder),
        "images": found.images or None,
        "cautions": cautions(a, b, found),
        "level": LEVEL,
        "settings": {key: {"a": one, "b": other} for key, (one, other) in found.settings.items()},
        "differences": [*map(_flat, found.differences)],
        "only_a": list(found.matched.only_a.values()),
        "only_b": list(found.matched.only_b.values()),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _flat(one: Difference) -> dict[str, Any]:
    (case, norm, delta, line, topk), shares = one.key, (one.share_a, one.share_b, one.size, one.low, one.high)
    images = (one.only_a, one.only_b)
    values = (*case, norm, delta, *line, topk, *shares, *images, one.test, one.p, one.adjusted, one.beyond)
    return dict(zip(COLUMNS, values, strict=True))
