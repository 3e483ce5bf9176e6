"""Building the indexes of a database, in one command or in as many as there are parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from lit_knn.backbones import Classifier
from lit_knn.data import ImageData
from lit_knn.database.database import Database
from lit_knn.database.index.recall import Truth
from lit_knn.database.resource import Resource
from lit_knn.database.store import Store
from lit_knn.distributed.partition import Partition

log = logging.getLogger(__name__)
USUAL_K = 50  # the paper's
Stage: TypeAlias = Literal["all", "train", "add", "merge"]


class IndexBuilder:
    """Builds the index of each tap over the whole store.

    Args:
        database: Says which index, and where.
        classifier: Tells whether the store was made by this network.
        data: Tells whether the store was made from these images.
        replace: Whether what was made from something else gives way; otherwise only what is missing is built.
    """

    def __init__(self, database: Database, classifier: Classifier, data: ImageData, *, replace: bool = True) -> None:
        self._replace = replace
        self._database, self._classifier, self._data = database, classifier, data
        self._projections, fingerprint = database.fitted(classifier, data)
        self._store = Store(database.store_path, fingerprint=fingerprint)

    def build(
        self,
        stage: Stage,
        part: Partition,
        needed: Mapping[str, int],
        resources: Sequence[Resource] = (),
        joined: Sequence[str] = (),
    ) -> None:
        """Take one step, or all; what is done already is not done again.

        Args:
            stage: Which.
            part: Of the rows, to be added.
            needed: How many neighbors will be asked for, by tap.
            resources: What defenses need besides, built once all indexes are; several of one name are the same.
            joined: Taps side by side, which have an index of their own.
        """
        self._build_indexes(stage, part, needed, joined)
        if resources and stage in ("all", "merge"):
            self._build_resources(resources, joined)

    def _build_resources(self, resources: Sequence[Resource], joined: Sequence[str]) -> None:
        """Build those that are missing, and, if they may be replaced, damaged ones and those of another origin."""
        gallery = self._database.open(self._classifier, self._data, joined)[-1]
        for resource in resources:
            folder = self._database.resource_path(resource.name)
            there = resource.is_sealed(folder)
            if (self._replace or not there) and (fault := resource.fault(folder, gallery)):
                if there:
                    log.info("%s: it gives way to a new one", fault)
                resource.build(folder, self._classifier, gallery)
                log.info("resource %s is sealed in %s", resource.name, folder)
        gallery.finish()

    def _build_indexes(
        self,
        stage: Stage,
        part: Partition,
        needed: Mapping[str, int],
        joined: Sequence[str],
    ) -> None:
        index, store = self._database.index, self._database.joined_store(self._store, self._projections, joined)
        if index.exhaustive:
            log.info("there is no index to build: the store itself is searched, exactly")
            return
        for tap in [*self._database.taps, *joined]:
            folder = self._database.index_path(tap)
            if not self._replace and index.is_built(folder):
                continue  # a test opens it, and says what is wrong
            if stage in ("all", "train"):
                index.train(store, tap, folder)
            if stage in ("all", "add"):
                index.add(store, tap, folder, part)
            if stage in ("all", "merge"):
                index.merge(store, tap, folder)
                truth = Truth(store, tap, needed.get(tap, USUAL_K))
                index.tune(store, tap, folder, truth.recall)
                recall = truth.recall(index.open(store, tap, folder, alone=True))
                log.info(
                    "index of %s: finds %.3f of the %d nearest rows, in %d trials", tap, recall, truth.k, len(truth)
                )
