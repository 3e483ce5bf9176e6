"""How many bytes and hours a configuration will take, from rates that are measured here and now."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import torch

from lit_knn.data import ImageData
from lit_knn.database import Database, Resource
from lit_knn.doctor.disk import index_bytes, projection_bytes, query_batches, store_bytes, written_by
from lit_knn.doctor.planning import PlannedTest
from lit_knn.doctor.rates import Measured, Rates
from lit_knn.evaluation.module import Evaluation
from lit_knn.report.results import Finding


def space(
    evaluation: Evaluation,
    data: ImageData,
    rates: Rates,
    planned: PlannedTest,
    missing: int,
    unbuilt: list[str],
    runs: Path,
) -> list[Finding]:
    """Return whether the disks hold what is still to be written, the indexes at their largest."""
    images, batches = data.num_queries_total, query_batches(data)
    findings = [_fits("disk of runs", runs, written_by(planned, rates, images, batches, shared=False))]
    if (cache := evaluation.cache.path) is not None:
        findings.append(_fits("disk of the cache", cache, written_by(planned, rates, images, batches, shared=True)))
    if (database := evaluation.database) is not None:
        rows = data.about_database_rows
        needed = missing * store_bytes(database, rates) + projection_bytes(database, rates) * bool(missing)
        needed += rows * sum(index_bytes(database, tap, rates) for tap in unbuilt)
        needed += sum(one.size_on_disk for one in evaluation.requirements.resources if not _is_there(database, one))
        findings.append(_fits("disk of the database", database.path, needed))
    return findings


def _is_there(database: Database, resource: Resource) -> bool:
    return resource.is_sealed(database.resource_path(resource.name))


def _fits(what: str, folder: Path, needed: int) -> Finding:
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    told = f"about {size(needed)} to be written below {folder}, {size(free)} are free"
    return Finding(what, "pass", told) if needed <= free else Finding(what, "fail", f"{told}: choose another disk")


def hours(
    evaluation: Evaluation, data: ImageData, measured: Measured, planned: PlannedTest, missing: int, where: torch.device
) -> list[Finding]:
    """Return how long one process will extract and test at these rates; searches and figures are not counted."""
    told = f"measured now on {where} with {data.batch_size} images a batch"
    findings = []
    if evaluation.database is not None:
        speeds = f"{measured.read:,.0f} images/s read and {measured.rates.forward:,.0f} through the network"
        took = duration(missing * measured.image_seconds(data.num_workers))
        findings.append(Finding("extract", "pass", f"{took} for {missing:,} images to come: {speeds}, {told}"))
    most = "at most, as a cascade leaves what is broken, " if planned.cascade else ""
    took = duration(data.num_queries_total * measured.query_seconds(planned, data.num_workers))
    passes = data.num_queries_total * planned.passes
    speeds = f"{2 * measured.rates.both:,.0f} passes/s there and back"
    findings.append(Finding("test", "pass", f"{most}{took} for {passes:,} passes: {speeds}, {told}"))
    return findings


def size(count: float) -> str:
    """Return bytes for people."""
    power = min(int(math.log(max(count, 1), 1000)), 5)
    return f"{count / 1000**power:.3g} {['B', 'kB', 'MB', 'GB', 'TB', 'PB'][power]}"


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
