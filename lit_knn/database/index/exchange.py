"""Questions and answers among processes that each hold a share of an index.

Processes do not ask in step: one has more batches than another, finds its batch in a cache, or is at another attack. So
whoever asks, and whoever has nothing left to ask, takes part in rounds; in each, every process answers everybody's
question, if they have one. The rounds end when nobody has.
"""

from __future__ import annotations

import weakref

import torch
import torch.distributed as dist
from torch import Tensor

from lit_knn.database.index.neighbors import Neighbors, nearest
from lit_knn.database.index.opened import OpenIndex
from lit_knn.database.index.selection import Selection
from lit_knn.distributed.gloo_groups import patient_group

Question = tuple[int, Tensor, int, "Selection | None"]  # index, features (N, D), k, among
SILENCE = (0, 0, 0, 0, 0, 0, 0)  # the header of who does not ask


class Exchange:
    """What one process knows: its shares, and which parts of the database somebody has asked for.

    Args:
        alone: Whether there is nobody else to ask, though there are other processes.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self._alone = alone
        self._shares: list[OpenIndex] = []
        self._selections: dict[int, Selection] = {}
        self._group_reference: weakref.ref[dist.ProcessGroup] | None = None

    @property
    def _group(self) -> dist.ProcessGroup | None:
        """The group, not kept here: a process that fails drops its connections by forgetting it."""
        return self._group_reference() if self._group_reference is not None else None

    def join(self, share: OpenIndex) -> int:
        """Take this process's share of an index; all processes take theirs, in the same order.

        Returns:
            The number by which it is asked.
        """
        if dist.is_initialized() and not self._alone and self._group is None:
            self._group_reference = weakref.ref(patient_group())
        self._shares.append(share)
        return len(self._shares) - 1

    def ask(self, number: int, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return what all processes together find."""
        if self._group is None:
            return self._shares[number].partial(features, k, among)
        return nearest(self._round((number, features.cpu(), k, among)) or [], k).to(features.device)

    def finish(self) -> None:
        """Answer until no process asks; every process has to call it."""
        while self._group is not None and self._round(None) is not None:
            pass

    def _round(self, question: Question | None) -> list[Neighbors] | None:
        """Answer everybody once.

        Returns:
            What each process finds for this one's question, an empty list if it had none; None if nobody had one.
        """
        header = torch.tensor(_header(question))
        headers = [torch.empty_like(header) for _ in range(dist.get_world_size())]
        dist.all_gather(headers, header, group=self._group)
        if not any(int(row[0]) for row in headers):
            return None
        mine: list[Neighbors] = []
        for asker, row in enumerate(headers):
            asks, number, n, size, k, key, length = row.tolist()
            if not asks:
                continue
            own = question if asker == dist.get_rank() else None
            features = own[1] if own else torch.empty(n, size, dtype=torch.float32)
            dist.broadcast(features, asker, group=self._group)
            among = self._selection(key, length, own, asker) if length else None
            answer = self._shares[number].partial(features, k, among)
            gathered = [self._gather(part, asker) for part in answer]
            if own:
                mine = [Neighbors(*parts) for parts in zip(*gathered, strict=True)]
        return mine

    def _selection(self, key: int, length: int, own: Question | None, asker: int) -> Selection:
        """Return a selection by its hash; it travels when it is asked for first."""
        if key not in self._selections:
            among = own[3] if own else None
            bits = torch.from_numpy(among.bits) if among else torch.empty(length, dtype=torch.uint8)
            dist.broadcast(bits, asker, group=self._group)
            self._selections[key] = among or Selection.of_bits(bits.numpy())
        return self._selections[key]

    def _gather(self, part: Tensor, asker: int) -> list[Tensor]:
        """Return the part of each process where it was asked for, nothing elsewhere."""
        if asker != dist.get_rank():
            dist.gather(part, dst=asker, group=self._group)
            return []
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.gather(part, parts, dst=asker, group=self._group)
        return parts


def _header(question: Question | None) -> tuple[int, ...]:
    """Return whether there is a question, which index, N, D, k, and hash and bytes of the selection."""
    if question is None:
        return SILENCE
    number, features, k, among = question
    if among is None:
        return 1, number, *features.shape, k, 0, 0
    return 1, number, *features.shape, k, int(among.digest[:15], 16), len(among.bits)
