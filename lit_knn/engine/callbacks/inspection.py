"""Writes what the neighbor inspector of a report shows: one picture of each query, and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lit_knn.database.index import Neighbors
from lit_knn.engine.callbacks.picture_sheet import PictureSheet
from lit_knn.report.figures.neighbor_pictures import Picture, PictureRow
from lit_knn.report.results.inspected import COLUMNS, INSPECTED_FILE
from lit_knn.storage.atomic import write_text


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """N queries in V versions, clean and then A attacks at E sizes: V = 1 + A·E.

    Attributes:
        run: Hash of the run.
        cases: A titles.
        sizes: E sizes of the perturbation in words.
        taps: T names.
        labels: N true classes.
        versions: ``(N, V, 3, H, W)`` float in [0, 1].
        realized: ``(N, V)`` float, size of what was done to each image, in the norm of the run.
        rows: What is drawn of each tap, query and version.
        found: The neighbors of all N·V images at each tap.
        weights: ``(N·V, K)`` float of each tap, CBW-D of these.
    """

    run: str
    cases: list[str]
    sizes: list[str]
    taps: list[str]
    labels: list[str]
    versions: Tensor
    realized: Tensor
    rows: Sequence[Sequence[Sequence[PictureRow]]]
    found: Sequence[Neighbors]
    weights: Sequence[Tensor]


def write_inspected(folder: Path, given: Inspection) -> None:
    """Write pictures, then the file that names them, and remove the pictures that it does not name.

    Raises:
        WriteError: If the system does not let them be written.
    """
    sheets = [PictureSheet(given.versions.shape[-2:]) for _ in given.labels]  # type: ignore[arg-type]
    queries = [
        {"label": label, "versions": [_version(given, n, v, sheets[n]) for v in range(given.versions.shape[1])]}
        for n, label in enumerate(given.labels)
    ]
    names = [sheet.save(folder) for sheet in sheets]
    content = {
        **{name: getattr(given, name) for name in ("run", "cases", "sizes", "taps")},
        "picture": sheets[0].size,
        "columns": COLUMNS,
        "sheets": names,
        "queries": queries,
    }
    write_text(folder / INSPECTED_FILE, json.dumps(content, ensure_ascii=False, allow_nan=False))
    for path in folder.iterdir():
        if path.suffix in (".png", ".jpg") and path.name not in names:
            path.unlink()


def _version(given: Inspection, n: int, v: int, sheet: PictureSheet) -> dict[str, Any]:
    row = n * given.versions.shape[1] + v
    difference = given.versions[n, v] - given.versions[n, 0]
    gain = 0.5 / max(float(difference.abs().max()), 1e-6)
    amplified = (255 * (gain * difference + 0.5)).round().clamp(0, 255).byte().cpu().numpy()
    case, size = divmod(v - 1, len(given.sizes)) if v else (-1, -1)
    return {
        **_seen(given.rows[0][n][v], sheet.add(("version", v), given.rows[0][n][v].image)),
        "case": case,
        "size": size,
        "realized": float(given.realized[n, v]),
        "gain": gain if v else 0.0,
        "difference": sheet.add(("difference", v), amplified) if v else -1,
        "neighbors": [
            [
                {
                    **_seen(picture, sheet.add(int(found.ids[row, k]), picture.image)),
                    "row": int(found.ids[row, k]),
                    "distance": _rounded(found.distances[row, k]),
                    "weight": _rounded(weights[row, k]),
                }
                for k, picture in enumerate(rows[n][v].neighbors)
            ]
            for rows, found, weights in zip(given.rows, given.found, given.weights, strict=True)
        ],
    }


def _seen(picture: Picture, place: int) -> dict[str, Any]:
    return {
        "picture": place,
        "predicted": picture.predicted,
        "confidence": _rounded(picture.confidence),
        "correct": bool(picture.correct),
    }


def _rounded(value: float | Tensor) -> float:
    return float(f"{float(value):.5g}")
