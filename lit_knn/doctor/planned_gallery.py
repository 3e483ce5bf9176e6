"""A database that need not be there: its rows are counted, and told from others, but not read."""

from __future__ import annotations

from collections.abc import Sequence

from lit_knn.backbones import Classifier, Tap
from lit_knn.database import Database
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint, digest


class PlannedGallery:
    """Stand for a `StoredGallery` where only its identity and the number of its rows are asked for.

    Args:
        database: Where it will lie.
        joined: Taps side by side that are searched as well.
        start: First row, in the random order of views.
        stop: The row after the last one.
    """

    def __init__(self, database: Database, joined: Sequence[str], start: int, stop: int) -> None:
        self._database, self._joined, self._rows = database, joined, (start, stop)

    def __len__(self) -> int:
        """Return how many rows may be found."""
        start, stop = self._rows
        return stop - start

    def view(self, start: int, stop: int) -> PlannedGallery:
        """Return rows ``start`` to ``stop`` in random order."""
        return PlannedGallery(self._database, self._joined, start, stop)

    def resident(self) -> PlannedGallery:
        """Return itself: nothing is held."""
        return self

    def identity(self) -> Fingerprint:
        """Return what an answer depends on, as far as it is known before anything is built."""
        database = self._database
        return {
            "path": str(database.path),
            "index": describe(database.index),
            "taps": [*database.taps, *self._joined],
            "order": database.order_seed,
            "rows": list(self._rows),
            **({} if database.network is None else {"network": database.network.fingerprint()}),
        }

    def tap(self, name: str) -> Tap:
        """Return a tap by name."""
        return self._database.taps[name]

    def encoder(self, classifier: Classifier) -> Classifier:
        """Return the network whose activations are searched."""
        return self._database.network or classifier

    def column(self, tap: str) -> str:
        """Return what the activation cache calls a tap."""
        activation, network = self.tap(tap).activation, self._database.network
        return activation if network is None else f"{activation}, {digest(network.fingerprint())}"
