"""An order of rows in which each selection of them is a few runs, so that a row that is not selected costs nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lit_knn.database.index.selection import Selection

MOST_CELLS = 256


class Arrangement:
    """M rows in cells, one for each combination of the selections that have been asked for.

    Args:
        count: M.
    """

    def __init__(self, count: int) -> None:
        self._bounds = np.array([0, count])  # of cells
        self._members: dict[str, NDArray[np.bool_]] = {}  # which cells belong to a selection, by its digest

    def knows(self, among: Selection | None) -> bool:
        """Return whether a selection consists of whole cells."""
        return among is None or among.digest in self._members

    def admit(self, among: Selection, inside: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Divide cells by a selection, and forget all others where there would be too many.

        Args:
            among: The selection.
            inside: ``(M,)``, whether each row belongs to it, as they are ordered now.

        Returns:
            ``(M,)`` int64, where each row has been until now; in a cell, they keep their order.
        """
        if 2 * (len(self._bounds) - 1) > MOST_CELLS:
            self._bounds, self._members = np.array([0, len(inside)]), {}
        cells = 2 * np.repeat(np.arange(len(self._bounds) - 1), np.diff(self._bounds)) + inside
        moved = np.argsort(cells, kind="stable")
        present, first = np.unique(cells[moved], return_index=True)
        self._bounds = np.append(first, len(cells))
        self._members = {digest: members[present // 2] for digest, members in self._members.items()}
        self._members[among.digest] = present % 2 == 1
        return moved

    def runs(self, among: Selection | None) -> list[range]:
        """Return where the rows of a selection are, which is known."""
        members = np.ones(len(self._bounds) - 1, bool) if among is None else self._members[among.digest]
        return [range(*self._bounds[cell : cell + 2].tolist()) for cell in np.flatnonzero(members)]
