"""Which runs a report is of."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lit_knn.errors import UserError
from lit_knn.report.results.record import RECORD_FILE, Record
from lit_knn.storage.reading import undamaged

PAGE_FILE = "report.html"  # of a report
STARTED = ("config.yaml", "origin.json")  # what a test writes into its folder before it has a record


class Run(NamedTuple):
    """A finished run.

    Attributes:
        label: Its folder, seen from the one that all runs lie in.
        folder: Where its other files lie.
        record: What it found.
    """

    label: str
    folder: Path
    record: Record


class Runs(NamedTuple):
    """What was found.

    Attributes:
        base: The folder that all of it lies in.
        finished: By label, numbers in it by their value.
        unfinished: Labels of runs that have no record yet.
    """

    base: Path
    finished: list[Run]
    unfinished: list[str]


def find_runs(paths: Sequence[Path]) -> Runs:
    """Find runs, in whatever order they are given, each once.

    Args:
        paths: Run folders, folders that hold run folders or folders of those, and records; at least one. Reports among
            them, as ``runs/*`` has, are passed over.

    Raises:
        UserError: If a path holds no run, a record cannot be read or is empty, or no run is finished.
    """
    given = [path.resolve() for path in paths]
    base = Path(os.path.commonpath([path.parent if path.is_file() else path for path in given]))
    found = {_label(run, base): run for path in given for run in _runs(path)}
    labels = sorted(found, key=_natural)
    if not found:
        raise UserError(f"there is a report in {paths[0]}, and no run; give run folders, or a folder that holds some")
    finished = [_read(label, found[label]) for label in labels if _has_record(found[label])]
    unfinished = [label for label in labels if not _has_record(found[label])]
    if not finished:
        raise UserError(
            f"no run is finished: no {RECORD_FILE} in {', '.join(unfinished)}; the same lit-knn test goes on"
        )
    return Runs(base, finished, unfinished)


def _read(label: str, path: Path) -> Run:
    record = Record.load(path)
    if not record.results:
        raise UserError(f"the record of run {label} holds no results; run lit-knn test again")
    return Run(label, path.parent if path.is_file() else path, record)


def _has_record(path: Path) -> bool:
    return path.is_file() or (path / RECORD_FILE).is_file()


def _runs(path: Path) -> list[Path]:
    if path.is_file():
        return [path.parent if path.name == RECORD_FILE else path]
    if _is_run(path):
        return [path]
    runs = [folder for pattern in ("*/", "*/*/") for folder in path.glob(pattern) if _is_run(folder)]
    if not (runs or (path / PAGE_FILE).is_file()):
        raise UserError(f"{path} holds no run; give run folders, a folder that holds some, or their {RECORD_FILE}")
    return runs


def _is_run(folder: Path) -> bool:
    with undamaged(folder, "remove it"):
        return (folder / RECORD_FILE).is_file() or any((folder / name).exists() for name in STARTED)


def _label(run: Path, base: Path) -> str:
    return base.name if run == base else run.relative_to(base).as_posix()


def _natural(label: str) -> list[tuple[int, str]]:
    """Sort run-9 before run-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", label)]
