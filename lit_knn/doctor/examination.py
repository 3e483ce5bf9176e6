"""All that a doctor looks at."""

from __future__ import annotations

from pathlib import Path

import torch

from lit_knn.data import ImageData
from lit_knn.database.building.extraction import NO_LABELS
from lit_knn.doctor.database_health import Health, health
from lit_knn.doctor.forecast import hours, space
from lit_knn.doctor.machine import machine
from lit_knn.doctor.planning import plan
from lit_knn.doctor.rates import Measured, Speeds, measure, read_rate
from lit_knn.doctor.telling import failure
from lit_knn.errors import UserError
from lit_knn.evaluation import validation
from lit_knn.evaluation.module import Evaluation
from lit_knn.evaluation.readiness import examine_queries
from lit_knn.report.results import Finding


def examine(evaluation: Evaluation, data: ImageData, device: torch.device, runs: Path) -> list[Finding]:
    """Return what there is of a configuration, and what it will take; nothing is written.

    ``fail`` stands for what one of its commands would stop at, even though those before it had run.

    Args:
        evaluation: Its model.
        data: Its images.
        device: Where it runs.
        runs: Where run folders go.
    """
    found = [*machine(), *images(data)]
    if any(one.verdict == "fail" for one in found if one.check in ("queries", "database")):
        return found
    database, required = evaluation.database, evaluation.requirements
    encoder, taps = evaluation.encoder or evaluation.classifier, list(database.taps.values()) if database else []
    try:
        image = data.first_images(device)["image"]
        rates = measure(image, evaluation.classifier, encoder, taps, data)
    except UserError as error:
        return [*found, failure("network", error)]
    name, pooled = evaluation.classifier.name, ", ".join(f"{tap} {size}" for tap, size in rates.lengths.items())
    found.append(Finding("network", "pass", f"{name}, {rates.classes} classes" + (pooled and f"; taps {pooled}")))
    found += _labels(evaluation, data, device)
    built = Health([], 0, [])
    if database is not None:
        built = health(database, evaluation.classifier, data, required)
    elif required.database:
        built = Health([Finding("database", "fail", "a defense retrieves, and there is no model.database")], None, [])
    found += built.findings
    if built.missing is not None:
        planned = plan(evaluation, data.about_database_rows if data.database else None, kept={})
        measured = Measured(read_rate(data), rates, Speeds(image, evaluation.classifier, rates))
        found += space(evaluation, data, rates, planned, built.missing, built.unbuilt, runs)
        found += hours(evaluation, data, measured, planned, built.missing, device)
    return found


def images(data: ImageData) -> list[Finding]:
    """Return whether queries and database are there, and apart."""
    findings = []
    try:
        findings.append(Finding("queries", "pass", f"{data.num_queries_total:,} images of {_kind(data.queries)}"))
    except UserError as error:
        findings.append(failure("queries", error))
    if data.database is not None:
        try:
            about, shards = data.about_database_rows, len(data.database.shard_names())
            told = f"{about:,} images in {shards:,} {'shard' if shards == 1 else 'shards'} of {_kind(data.database)}"
            told += f"; {data.database.remark()}" if data.database.remark() else ""
            validation.verify_sources(data)
            findings.append(Finding("database", "pass", told))
        except UserError as error:
            findings.append(failure("database", error))
    return findings


def _labels(evaluation: Evaluation, data: ImageData, device: torch.device) -> list[Finding]:
    try:
        problem = examine_queries(evaluation, data, device)
    except UserError as error:
        return [failure("labels", error)]
    if problem:
        return [Finding("labels", "warn", f"the store will keep none of the database: {problem}; {NO_LABELS}")]
    return [Finding("labels", "pass", f"are classes of {evaluation.classifier.name}")]


def _kind(source: object) -> str:
    return type(source).__name__
