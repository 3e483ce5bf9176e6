"""What a run tells of a few queries, their attacked images and neighbors, for a reader to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from lit_knn.report.results.runs import Run
from lit_knn.storage.fingerprint import digest
from lit_knn.storage.reading import load_json, undamaged

INSPECTED_FOLDER, INSPECTED_FILE = "neighbors", "neighbors.json"
COLUMNS = 16  # pictures in a row of a sheet
REMEDY = "remove its folder, or run the same test again"
SEEN = {"picture": int, "predicted": str, "confidence": int | float, "correct": bool}
NEIGHBOR = SEEN | {"row": int, "distance": int | float, "weight": int | float}
VERSION = SEEN | {"case": int, "size": int, "realized": int | float, "gain": int | float, "difference": int}
FORM = {
    "run": str,
    "cases": [str],
    "sizes": [str],
    "taps": [str],
    "picture": [int],
    "columns": int,
    "sheets": [str],
    "queries": [{"label": str, "versions": [VERSION | {"neighbors": [[NEIGHBOR]]}]}],
}


class Inspected(NamedTuple):
    """What the inspector of a page shows.

    Attributes:
        data: ``picture``, width and height of one, ``columns`` of them in a row of a sheet; ``cases`` and ``sizes`` of
            the perturbation in words, ``taps``; and ``queries``, of each its true class and ``versions``. A version is
            clean (``case`` and ``difference`` −1) or attacked, ``realized`` is Δ in pixels, ``difference`` the picture
            of the attacked minus the clean image times ``gain``, around gray; ``neighbors`` are by tap. ``picture`` is
            a number in the sheet of the query, ``weight`` is CBW-D.
        sheets: The picture of each query.
    """

    data: dict[str, Any]
    sheets: list[Path]


def read_inspected(run: Run) -> Inspected | None:
    """Return what the folder of a run tells of single queries; None if it does not, or tells of another run.

    Raises:
        UserError: If a file is missing or damaged.
    """
    folder = run.folder / INSPECTED_FOLDER
    if not (path := folder / INSPECTED_FILE).is_file():
        return None
    data = load_json(path, REMEDY, FORM)
    if data["run"] != digest(run.record.fingerprints):
        return None
    sheets = [folder / Path(name).name for name in data["sheets"]]
    with undamaged(path, REMEDY):
        if len(sheets) != len(data["queries"]) or len(data["picture"]) != 2:
            raise ValueError("its pictures are not those of its queries")
        for sheet in sheets:
            if digest(sheet.read_bytes().hex()) != sheet.stem:
                raise ValueError(f"{sheet.name} is not what was written")
    return Inspected(data, sheets)
