"""What there is of a database, and whether it belongs to the configuration."""

from __future__ import annotations

from typing import NamedTuple

from lit_knn.backbones import Classifier
from lit_knn.data import ImageData
from lit_knn.database import Database
from lit_knn.database.store import Store
from lit_knn.defenses import Requirements
from lit_knn.doctor.telling import failure
from lit_knn.errors import UserError, counted
from lit_knn.report.results import Finding
from lit_knn.storage.fingerprint import Fingerprint


class Health(NamedTuple):
    """What was found.

    Attributes:
        findings: ``fail`` for what is damaged or of something else, ``warn`` for what is only missing, unless a test
            makes it.
        missing: About how many images are to be extracted; None where nobody can say.
        unbuilt: Taps whose index is to be built, or does not belong to the store.
    """

    findings: list[Finding]
    missing: int | None
    unbuilt: list[str]


def health(database: Database, classifier: Classifier, data: ImageData, required: Requirements) -> Health:
    """Look at projections, store, indexes and resources, in the order in which they are built.

    Cost:
        The header of each shard, a few samples of each index, and no row.

    Args:
        database: Where they lie.
        classifier: Whose features they should be.
        data: Whose images they should be of.
        required: What the defenses of the configuration need.
    """
    taps = [*database.taps, *required.joined]
    by_test = database.build_missing and not database.is_complete(required.resources, required.joined)
    if unfitted := database.unfitted():
        sentence = f"no projection of {', '.join(unfitted)} in {database.path} yet"
        return Health([_to_come("projections", sentence, "extract", by_test)], data.about_database_rows, taps)
    try:
        projections, fingerprint = database.fitted(classifier, data)
    except UserError as error:
        return Health([failure("projections", error)], None, taps)
    findings = [Finding("projections", "pass", f"{len(database.taps)} of {len(database.taps)}, of this configuration")]
    try:
        store, missing, told = _store(database, data, fingerprint, by_test)
    except UserError as error:
        return Health([*findings, failure("store", error)], None, taps)
    findings.append(told)
    if store is None:
        return Health(findings, missing, taps)
    unbuilt, searched = [], database.joined_store(store, projections, required.joined)
    for tap in taps:
        told, built = _index(database, searched, tap, by_test)
        findings.append(told)
        unbuilt += [] if built else [tap]
    for resource in required.resources:
        check = f"resource {resource.name}"
        there = resource.is_sealed(database.resource_path(resource.name))
        sealed = Finding(check, "pass", "is sealed")
        findings.append(sealed if there else _to_come(check, "is not there yet", "index", by_test))
    return Health(findings, missing, unbuilt)


def _to_come(check: str, missing: str, command: str, by_test: bool) -> Finding:
    """Return what is missing, and which command makes it: nothing to mind where a test does so by itself."""
    if by_test:
        return Finding(check, "pass", f"{missing}: `lit-knn test` adds what is missing, as build_missing is true")
    return Finding(check, "warn", f"{missing}: `lit-knn {command}` adds what is missing")


def _store(
    database: Database, data: ImageData, fingerprint: Fingerprint, by_test: bool
) -> tuple[Store | None, int, Finding]:
    shards, new = range(len(data.database_source.shard_names())), database.recognize(data).new
    if pending := database.unsealed(shards, fingerprint):
        missing = round(data.about_database_rows * len(pending) / len(shards))
        done = f"{len(shards) - len(pending)} of {len(shards)} shards are sealed in {database.store_path}"
        told = f"{done}, about {missing:,} images are missing"
        return None, missing, _to_come("store", told, "extract", by_test)
    if not (database.store_path / "manifest.json").exists():
        told = f"all shards are sealed in {database.store_path}, and not listed yet"
        return None, 0, _to_come("store", told, "extract", by_test)
    store = Store(database.store_path, fingerprint=fingerprint)
    told = f"{len(store):,} rows in {len(shards)} sealed shards, of this configuration"
    if new:
        told += f"; {counted(len(new), 'shard has', 'shards have')} come since: `lit-knn extract` adds them"
    missing = round(data.about_database_rows * len(new) / len(shards))
    return store, missing, Finding("store", "warn" if new else "pass", told)


def _index(database: Database, store: Store, tap: str, by_test: bool) -> tuple[Finding, bool]:
    """Return what there is of the index of a tap, and whether it is built and belongs to the store."""
    check, kind, path = f"index {tap}", type(database.index).__name__, database.index_path(tap)
    if not database.index.is_built(path):
        return _to_come(check, f"{kind} is not in {path} yet", "index", by_test), False
    try:
        database.index.open(store, tap, path)
    except UserError as error:
        return failure(check, error), False
    return Finding(check, "pass", f"{kind}, " + ("needs no files" if database.index.exhaustive else str(path))), True
