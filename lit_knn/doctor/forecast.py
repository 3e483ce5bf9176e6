"""How many bytes and hours a configuration will take, from rates that are measured here and now."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lit_knn.backbones import Classifier, Tap
from lit_knn.data import ImageData
from lit_knn.database import Database
from lit_knn.database.index.plan import ID_BYTES
from lit_knn.evaluation.module import Evaluation
from lit_knn.report.results import Finding

SECONDS = 1.0  # that each rate is measured for


class Rates(NamedTuple):
    """What one process does in a second.

    Attributes:
        read: Images read, decoded and preprocessed, by itself.
        forward: Passes of images through the network, forward.
        both: The same there and back, as attacks do.
        lengths: Of the pooled activation of each tap, by its name.
        classes: C.
    """

    read: float
    forward: float
    both: float
    lengths: dict[str, int]
    classes: int


def measure(
    classifier: Classifier, encoder: Classifier, taps: list[Tap], data: ImageData, where: torch.device
) -> Rates:
    """Read the first batch of queries and pass it through the networks for some seconds.

    Raises:
        UserError: If an image cannot be read, or a network fails, has no such layer or no logits.
    """
    image = data.first_images(where)["image"]
    encoder, classifier = encoder.to(where), classifier.to(where)
    encoder.examine(image, taps, data.preprocessing)
    if encoder is not classifier:
        classifier.examine(image, preprocessing=data.preprocessing)

    def forward() -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            if encoder is classifier:
                return classifier.tapped(image, taps)
            return classifier(image), encoder.activations(image, taps)

    def both() -> None:
        with torch.enable_grad():
            given = image.clone().requires_grad_()
            torch.autograd.grad(classifier(given).sum(), given)

    logits, pooled = forward()
    lengths = {name: rows.shape[1] for name, rows in pooled.items()}
    read, there, back = (len(image) / _each(work, where) for work in (data.first_queries, forward, both))
    return Rates(read, there, back, lengths, logits.shape[1])


def _each(work: Callable[[], object], where: torch.device) -> float:
    """Return the seconds that something takes once it has been done."""
    work()
    _wait(where)
    started, times = time.monotonic(), 0
    while not times or time.monotonic() - started < SECONDS:
        work()
        _wait(where)
        times += 1
    return (time.monotonic() - started) / times


def _wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def store_bytes(database: Database, rates: Rates) -> int:
    """Return what the store takes for one image."""
    dimensions = {name: min(tap.dimension, rates.lengths[name]) for name, tap in database.taps.items()}
    return database.schema(rates.classes, dimensions).row_bytes


def index_bytes(database: Database, tap: str, rates: Rates) -> int:
    """Return what an index takes for one row of a tap at most: that of a code takes less."""
    if database.index.exhaustive:
        return 0
    parts = [database.taps[name] for name in tap.split("+")]
    sizes = (min(part.dimension, rates.lengths[part.name]) for part in parts)
    return sum(size // 8 if part.bits else 4 * size for size, part in zip(sizes, parts, strict=True)) + ID_BYTES


def space(
    evaluation: Evaluation, data: ImageData, rates: Rates, missing: int, unbuilt: list[str], runs: Path
) -> list[Finding]:
    """Return whether the disks hold what is still to be written, the indexes at their largest."""
    observed = data.num_queries_total * (1 + len(evaluation.cases) * (len(evaluation.deltas) - 1))
    findings = [_fits("disk of runs", runs, observed * 4 * (rates.classes + sum(rates.lengths.values())))]
    if (database := evaluation.database) is not None:
        rows = data.about_database_rows
        needed = missing * store_bytes(database, rates)
        needed += rows * sum(index_bytes(database, tap, rates) for tap in unbuilt)
        findings.append(_fits("disk of the database", database.path, needed))
    return findings


def _fits(what: str, folder: Path, needed: int) -> Finding:
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    told = f"about {size(needed)} to be written below {folder}, {size(free)} are free"
    return Finding(what, "pass", told) if needed <= free else Finding(what, "fail", f"{told}: choose another disk")


def hours(evaluation: Evaluation, data: ImageData, rates: Rates, missing: int, where: torch.device) -> list[Finding]:
    """Return how long one process will extract and attack at these rates; searches and figures are not counted."""
    told = f"measured now on {where} with {data.batch_size} images a batch"
    findings = []
    if evaluation.database is not None:
        readers = max(1, data.num_workers)
        seconds = missing * (1 / rates.forward + 1 / (rates.read * readers))
        speeds = f"{rates.read:,.0f} images/s read and {rates.forward:,.0f} through the network"
        took = _time(seconds)
        findings.append(Finding("extract", "pass", f"{took} for {missing:,} images to come: {speeds}, {told}"))
    sizes = len(evaluation.deltas) - 1
    passes = data.num_queries_total * sizes * sum(attack.passes for _, attack in evaluation.cases)
    most = "at most, as a cascade leaves what is broken, " if evaluation.cascade else ""
    speeds = f"{2 * rates.both:,.0f} passes/s there and back"
    took = _time(passes / (2 * rates.both))
    findings.append(Finding("attack", "pass", f"{most}{took} for {passes:,} passes: {speeds}, {told}"))
    return findings


def size(count: float) -> str:
    """Return bytes for people."""
    power = min(int(math.log(max(count, 1), 1000)), 5)
    return f"{count / 1000**power:.3g} {['B', 'kB', 'MB', 'GB', 'TB', 'PB'][power]}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
