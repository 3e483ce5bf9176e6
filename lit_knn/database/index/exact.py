"""Exact search as one function of a query and the rows, whoever computes it.

A matrix product rounds otherwise for other numbers of rows and queries, on other devices and in other libraries. So it
only says which rows may be among the nearest, with a margin for its rounding; `euclidean`, which is the same to the bit
everywhere, says which are, and the lower id goes first of equally near ones. Whole numbers, such as bits as −1 and 1,
have exact products, and need no second look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_knn.backbones import full_float32
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.selection import Selection

TILE = 256  # queries at a time: with 16,384 rows, 16 MiB of scores, which the next tile takes over
GPU_TILE = 4096
PAIRS = 1 << 21  # of a query and a row that are looked at a second time at once
CROWD = 4  # times k rows for each query are more than a new limit costs
ELEMENTS = 1 << 17  # of float64, which a processor's cache holds
UNIT = 2.0**-23  # twice the unit roundoff of float32
UNIT_DOUBLE = 2.0**-52  # and of float64
LONGEST_WHOLE = 2.0**10  # of query and row together: float32 then holds their product and the square of their distance


def euclidean(queries: Tensor, query: Tensor, rows: Tensor, row: Tensor | None = None) -> Tensor:
    """Return the distances between pairs of a query and a row: float64, summed in a fixed order, rounded once.

    A norm has another order on each device and for each shape. It is taken where that cannot change the last bit.

    Args:
        queries: ``(N, D)`` float32.
        query: ``(P,)`` int64, the query of each pair.
        rows: ``(n, D)`` float32.
        row: ``(P,)`` int64, the row of each pair; by default each has its own.

    Returns:
        ``(P,)`` float32, the same bits on every device and for every P.
    """
    if len(queries) < len(query):
        queries = queries.double()

    def apart(pairs: slice | Tensor) -> Tensor:
        terms = queries.index_select(0, query[pairs]).double()
        return terms.sub_(rows[pairs] if row is None else rows.index_select(0, row[pairs]))  # (P', D)

    step = max(1, ELEMENTS // rows.shape[1])
    norms = torch.empty(len(query), dtype=torch.float64, device=rows.device)
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        torch.linalg.vector_norm(apart(part), dim=1, out=norms[part])
    error = (rows.shape[1] + 16) * UNIT_DOUBLE  # at most, whatever the order
    found, above = (norms * (1 - error)).float(), (norms * (1 + error)).float()
    unsure = (found != above).nonzero()[:, 0]
    for some in unsure.split(step) if len(unsure) else ():
        squared, middle = _in_order(apart(some).square_()), (found[some].double() + above[some]) / 2
        side = (squared - middle.square()).sign()  # exact, which no square root on a CPU has to be
        found[some] = torch.where(side > 0, above[some], torch.where(side < 0, found[some], middle.float()))
    return found


def _in_order(terms: Tensor) -> Tensor:
    """Return the sums ``(P,)`` of numbers ``(P, D)``, which it overwrites, in the same order on every device."""
    width = terms.shape[1]
    while width > 1:
        half = width // 2
        terms[:, :half] += terms[:, width - half : width]
        width -= half
    return terms[:, 0]


def margin(dimension: int, lengths: Any) -> Any:
    """Return a bound on the rounding of squared distances by products of D dimensions in float32, summed in any order.

    Args:
        dimension: D.
        lengths: Those of query and row together, float64.
    """
    return (dimension + 8) * UNIT * lengths**2


def compared_on(device: str) -> torch.device:
    """Return a device by its name; ``auto`` is a GPU if there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def scan(
    blocks: Iterable[tuple[int, npt.NDArray[np.float32]]],
    features: Tensor,
    k: int,
    among: Sequence[Selection | None],
    device: str = "auto",
) -> list[Neighbors]:
    """Read rows once, and return the k nearest of each query for each selection.

    Args:
        blocks: The first id and the features of consecutive rows.
        features: ``(N, D)`` float32.
        k: How many; ids are −1 beyond those that there are.
        among: The rows that may be found, for each answer; None for all.
        device: Where they are compared; ``auto`` takes a GPU if there is one.
    """
    queries = features.to(compared_on(device))
    running = [Running(queries, k) for _ in among]
    for first, rows in blocks:
        for found, part in zip(running, among, strict=True):
            found.compare(first, rows, part)
    return [found.neighbors().to(features.device) for found in running]


class Running:
    """The nearest rows so far of N queries.

    Args:
        queries: ``(N, D)``, taken as float32.
        k: How many are kept of each.
    """

    def __init__(self, queries: Tensor, k: int) -> None:
        self.queries = queries.float()
        self.distances = torch.full((len(queries), k), torch.inf, dtype=torch.float32, device=queries.device)
        self.ids = torch.full((len(queries), k), -1, device=queries.device)
        self._squares = self.queries.double().square_().sum(dim=1)  # ‖q‖²

    @cached_property
    def _whole(self) -> bool:
        return _are_whole(self.queries)

    def compare(self, first: int, rows: npt.NDArray[np.float32], among: Selection | None = None) -> None:
        """Look at rows ``(n, D)``, which follow those of earlier calls.

        Args:
            first: The id of the first of them.
            rows: Their features.
            among: Those that may be found; all by default.
        """
        ids = np.arange(first, first + len(rows))
        if among is not None:
            allowed = among.mask(range(first, first + len(rows)))
            ids, rows = ids[allowed], rows[allowed]
        if not len(rows) or not len(self.queries):
            return
        block, number = (torch.from_numpy(part).to(self.queries.device) for part in (rows, ids))
        with full_float32(block.device):
            squares = torch.einsum("nd,nd->n", block, block)  # ‖x‖²
        longest = squares.max().double().sqrt() + self._squares.sqrt()  # (N,): ‖q‖ + max ‖x‖
        exact = self._whole and bool(longest.max() < LONGEST_WHOLE) and _are_whole(block)
        margins = 0 * longest if exact else margin(block.shape[1], longest)
        size = TILE if block.device.type == "cpu" else GPU_TILE
        for start in range(0, len(self.queries), size):
            tile = slice(start, min(start + size, len(self.queries)))
            self._compare_tile(tile, block, number, squares, margins[tile], exact)

    def _compare_tile(
        self, tile: slice, block: Tensor, number: Tensor, squares: Tensor, margin: Tensor, exact: bool
    ) -> None:
        many, k = tile.stop - tile.start, self.ids.shape[1]
        with full_float32(block.device):
            scores = torch.addmm(squares, self.queries[tile], block.T, alpha=-2)  # (T, n): ‖x‖² − 2 q·x
        farthest = self.distances[tile, -1].double().square()
        if exact:  # whole numbers below it: rows of earlier blocks go first of equally near ones
            farthest = farthest.ceil() - 0.5
        limits = farthest - self._squares[tile] + margin
        near = scores <= limits.float()[:, None]
        count = int(near.count_nonzero())
        if len(number) > CROWD * k and count > CROWD * k * many:
            found = scores.topk(k, dim=1, largest=False).values[:, -1] + 2 * margin
            near &= scores <= found.float()[:, None]
            count = int(near.count_nonzero())
        step = max(1, many * PAIRS // max(count, PAIRS))
        for start in range(0, many, step):
            query, column = near[start : start + step].nonzero(as_tuple=True)
            query += start
            if exact:
                squared = scores[query, column].double() + self._squares[tile][query]
                distances = squared.sqrt().float()
            else:
                distances = euclidean(self.queries[tile], query, block, column)
            self.take(tile, query, distances, number[column])

    def take(self, tile: slice, query: Tensor, distances: Tensor, ids: Tensor) -> None:
        """Keep the nearest of what is known of a tile's queries and of pairs ``(P,)``, which follow by query and id."""
        if not len(query):
            return
        many, k = tile.stop - tile.start, self.ids.shape[1]
        known = torch.arange(many, device=query.device).repeat_interleave(k)
        query = torch.cat([known, query])
        distances = torch.cat([self.distances[tile].flatten(), distances])
        ids = torch.cat([self.ids[tile].flatten(), ids])
        bits = distances.view(torch.int32).long()  # of positive numbers, in the order of the numbers
        order = ((query << 32) | bits).sort(stable=True).indices
        counts = query.bincount(minlength=many)
        kept = order[(counts.cumsum(0) - counts)[:, None] + torch.arange(k, device=query.device)]  # (T, K)
        self.distances[tile], self.ids[tile] = distances[kept], ids[kept]

    def neighbors(self) -> Neighbors:
        """Return the nearest rows, ids −1 where there were fewer than k."""
        return Neighbors(self.ids, self.distances)


def _are_whole(features: Tensor) -> bool:
    """Return whether all are whole numbers."""
    return bool((features[:1] == features[:1].round()).all() and (features == features.round()).all())
