"""What several commands will take that share networks, images and a cache, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from lit_knn.backbones import Tap
from lit_knn.data import ImageData
from lit_knn.database import Database
from lit_knn.doctor.disk import index_bytes, projection_bytes, query_batches, store_bytes, written_by
from lit_knn.doctor.planning import Kept, plan
from lit_knn.doctor.rates import Measured, Rates, Speeds, measure, read_rate, stand_in
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from lit_knn.evaluation.validation import require_database
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import digest

AT_ONCE = 8 * 3 * 224 * 224  # numbers that pass a network while it is measured on a CPU: more are as fast each


class Command(NamedTuple):
    """What is to be run.

    Attributes:
        kind: One of `lit-knn`'s commands.
        name: In the table; of no other command.
        evaluation: Its model, whose networks may stand in for others.
        data: Its images.
        device: Where it runs.
        precision: Of its trainer.
        queries: What tells its batches of queries from others.
        stage: Of ``index``.
    """

    kind: str
    name: str
    evaluation: Evaluation
    data: ImageData
    device: torch.device
    precision: str = "32-true"
    queries: str = ""
    stage: str = "all"


class Step(NamedTuple):
    """What a command takes.

    Attributes:
        name: Of the command.
        images: That it reads; None where nobody knows how many there are.
        passes: Of each image, through any network; None where that is not its work.
        seconds: Of each image, in one process; None where it cannot be told.
        written: Bytes, in all, or if nobody knows the images of each; None where it cannot be told.
        most: Whether it may take less.
        shared: Whether the tasks of an array share it.
    """

    name: str
    images: int | None = 0
    passes: int | None = None
    seconds: float | None = 0.0
    written: int | None = 0
    most: bool = False
    shared: bool = False


class Study:
    """Commands in their order; rates are measured once for all that use the same networks and images.

    Attributes:
        untold: Why numbers are missing, in full sentences.
    """

    def __init__(self) -> None:
        self.untold: list[str] = []
        self._kept: Kept = {}
        self._measured: dict[str, Measured | None] = {}
        self._fitted: set[str] = set()

    def steps(self, command: Command) -> list[Step]:
        """Return what a command takes after those before it, as if none of it had been done yet.

        Raises:
            UserError: If the configuration does not fit together.
        """
        if command.kind == "test":
            return [self._test(command)]
        database = require_database(command.evaluation.database)
        if command.kind == "index":
            return [self._index(command, database)]
        fit = [] if str(database.path) in self._fitted else [self._fit(command, database)]
        self._fitted.add(str(database.path))
        return fit if command.kind == "fit" else [*fit, self._extract(command, database)]

    def _fit(self, command: Command, database: Database) -> Step:
        rows, wanted = self._rows(command), database.projection_rows
        images = wanted if rows is None else math.ceil(rows / max(1, rows // wanted)) if wanted else rows
        name = command.name if command.kind == "fit" else f"fit, by {command.name}"
        return self._pass(command, name, images, lambda rates, images: projection_bytes(database, rates))

    def _extract(self, command: Command, database: Database) -> Step:
        rows = self._rows(command)
        return self._pass(command, command.name, rows, lambda rates, images: images * store_bytes(database, rates))

    def _pass(self, command: Command, name: str, images: int | None, size: Callable[[Rates, int], int]) -> Step:
        measured = self._rates(command)
        passes = 2 if require_database(command.evaluation.database).network is not None else 1
        if measured is None:
            return Step(name, images, passes, None, None, shared=True)
        written = size(measured.rates, 1 if images is None else images)
        return Step(name, images, passes, measured.image_seconds(command.data.num_workers), written, shared=True)

    def _index(self, command: Command, database: Database) -> Step:
        rows, measured = self._rows(command), self._rates(command)
        if command.stage not in ("all", "merge"):
            return Step(command.name)
        required = command.evaluation.requirements
        if measured is None:
            return Step(command.name, rows, None, 0.0, None)
        taps = [*database.taps, *required.joined]
        each = sum(index_bytes(database, tap, measured.rates) for tap in taps)
        if rows is None:
            return Step(command.name, None, None, 0.0, each)
        return Step(command.name, rows, None, 0.0, rows * each + sum(one.size_on_disk for one in required.resources))

    def _test(self, command: Command) -> Step:
        evaluation, data = command.evaluation, command.data
        planned = plan(
            evaluation, precision=command.precision, queries=command.queries, kept=self._kept, run=command.name
        )
        images, measured = self._number(lambda: data.num_queries_total), self._rates(command)
        batches = self._number(lambda: query_batches(data))
        if images is None and data.num_queries is not None:
            images, batches = data.num_queries, math.ceil(data.num_queries / data.batch_size)
        seconds, written = None, None
        if measured is not None:
            seconds = measured.query_seconds(planned, data.num_workers)

            def size(images: int, batches: int) -> int:
                return sum(written_by(planned, measured.rates, images, batches, shared=one) for one in (True, False))

            if images is None or batches is None:  # of one more batch
                count = data.batch_size
                written = (size(2 * count, 2) - size(count, 1)) // count
            else:
                written = size(images, batches)
        return Step(command.name, images, planned.passes, seconds, written, most=planned.cascade)

    def _rows(self, command: Command) -> int | None:
        return self._number(lambda: command.data.about_database_rows)

    def _number(self, count: Callable[[], int]) -> int | None:
        """Return a number of images, None where they cannot be listed."""
        try:
            return count()
        except UserError as error:
            self._note(error)
            return None

    def _note(self, error: UserError) -> None:
        if (sentence := " ".join(str(error).split())) not in self.untold:
            self.untold.append(sentence)

    def _rates(self, command: Command) -> Measured | None:
        evaluation, data = command.evaluation, command.data
        encoder, taps = evaluation.encoder or evaluation.classifier, list[Tap]()
        if evaluation.database is not None:
            taps = list(evaluation.database.taps.values())
        networks = [evaluation.classifier.fingerprint(), encoder.fingerprint()]
        prepared = data.preprocessing and data.preprocessing.identity()
        source = {name: str(value) for name, value in vars(data.queries).items() if not name.startswith("_")}
        key = digest([networks, describe(taps), prepared, source, data.batch_size, str(command.device)])
        if key not in self._measured:
            try:
                self._measured[key] = self._measure(command, taps)
            except UserError as error:
                self._note(error)
                self._measured[key] = None
        return self._measured[key]

    def _measure(self, command: Command, taps: list[Tap]) -> Measured:
        evaluation, data = command.evaluation, command.data
        classifier, encoder = evaluation.classifier, evaluation.encoder or evaluation.classifier
        try:
            image, read = data.first_images(command.device)["image"], read_rate(data)
        except UserError as error:
            self._note(error)
            image, read = stand_in(data, command.device), math.inf
        if command.device.type == "cpu":
            image = image[: max(1, AT_ONCE // image[0].numel())]
        rates = measure(image, classifier, encoder, taps, data)
        return Measured(read, rates, Speeds(image, classifier, rates))
