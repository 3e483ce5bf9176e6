"""Rows of each class of a database, so that an attack can ask for the nearest ones of a class it chooses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_knn.database import Gallery
from lit_knn.errors import UserError

MOST = 100_000  # rows in all: 100 MB at 256 dimensions, and a product with them costs less than a forward pass

BLOCK = 1 << 20  # rows whose votes are read at once


class Found(NamedTuple):
    """Hold, for each of N features, the m nearest rows of each of G chosen classes, nearest first.

    Attributes:
        ids: ``(N, G, m)`` int64, numbers of rows in the store; without meaning where ``present`` is false.
        vectors: ``(N, G, m, D)`` float, the features of these rows; likewise.
        present: ``(N, G, m)`` bool, false where a class has fewer than m rows.
    """

    ids: Tensor
    vectors: Tensor
    present: Tensor


class ClassExemplars:
    """Hold a sample of the rows that vote for each class, with their features in memory.

    Cost:
        One reading of the votes of all rows, no pass of the network; at most ``most`` · D · 4 bytes of memory.

    Args:
        gallery: Database that the rows are taken from.
        tap: Name of the tap whose features are held.
        most: Largest number of rows in all, evenly spread over the classes; by default 100,000.
        seed: Seed of the random choice among the rows of a class that has more than its share, at least 0.

    Attributes:
        ids: ``(C, P)`` int64, numbers of rows in the store; 0 where ``present`` is false.
        present: ``(C, P)`` bool, false where a class has fewer than P rows.
        vectors: ``(C, P, D)`` float, the features of these rows. All three move to the device of the features last
            asked about, and this one takes their dtype.

    Raises:
        UserError: If all rows vote for one class.
    """

    def __init__(self, gallery: Gallery, tap: str, *, most: int = MOST, seed: int = 0) -> None:
        rows, classes = gallery.ids, gallery.num_classes
        vote = torch.cat([gallery.votes(part) for part in rows.split(BLOCK)])  # (M,)
        counts = vote.bincount(minlength=classes)
        if (counts > 0).sum() < 2:
            raise UserError("all rows of the attacker's database vote for one class: there is no other to be drawn to")
        each = max(min(int(counts.max()), most // classes), 1)
        chosen = torch.full((classes, each), -1)
        random = np.random.RandomState(seed)  # NumPy froze this generator
        by_class = rows[vote.argsort(stable=True)].split(counts.tolist())
        for number, members in enumerate(by_class):
            mine = random.permutation(len(members))[:each]
            chosen[number, : len(mine)] = members[mine].sort().values
        self.ids, self.present = chosen.clamp_min(0), chosen >= 0
        self.vectors = gallery.vectors(tap, self.ids)

    def around(self, features: Tensor) -> Around:
        """Measure the distances of all rows to features ``(N, D)`` once, and return them to be asked many times."""
        with torch.no_grad():
            return Around(self, self._squared(features))

    def nearest(self, features: Tensor, classes: Tensor, m: int) -> Found:
        """Return the rows of chosen classes that are nearest to features ``(N, D)``; see `Around.nearest`."""
        return self.around(features).nearest(classes, m)

    def wrong(self, features: Tensor, label: Tensor, count: int, m: int) -> Tensor:
        """Return the wrong classes nearest to features ``(N, D)``; see `Around.wrong`."""
        return self.around(features).wrong(label, count, m)

    def _squared(self, features: Tensor) -> Tensor:
        """Return squared distances ``(N, C, P)``, to the rounding of the largest norm; infinite for no row."""
        self.vectors = self.vectors.to(features)
        self.ids, self.present = self.ids.to(features.device), self.present.to(features.device)
        flat = self.vectors.flatten(0, 1)  # (C·P, D)
        squared = (features**2).sum(1, keepdim=True) - 2 * features @ flat.T + (flat**2).sum(1)  # (N, C·P)
        return squared.view(-1, *self.present.shape).masked_fill(~self.present, torch.inf)


class Around(NamedTuple):
    """Hold the distances of all rows to N features.

    Attributes:
        exemplars: The rows.
        squared: ``(N, C, P)`` float, squared distances; infinite where a class has no such row.
    """

    exemplars: ClassExemplars
    squared: Tensor

    def nearest(self, classes: Tensor, m: int) -> Found:
        """Return the nearest rows of chosen classes.

        Args:
            classes: ``(N, G)`` int64 in [0, C), the classes to search for each feature.
            m: Number of rows of each class, at least 1; P, the size of the largest class, if that is smaller.
        """
        chosen = self.squared.gather(1, classes[..., None].expand(-1, -1, self.squared.shape[-1]))  # (N, G, P)
        near = chosen.topk(min(m, chosen.shape[-1]), dim=-1, largest=False)
        where = classes[..., None], near.indices  # (N, G, m)
        return Found(self.exemplars.ids[where], self.exemplars.vectors[where], near.values.isfinite())

    def wrong(self, label: Tensor, count: int, m: int) -> Tensor:
        """Return the wrong classes whose m nearest rows lie closest on average, closest first.

        Args:
            label: ``(N,)`` int64, the true classes.
            count: Number of classes to return, at least 1; C − 1 if that is smaller.
            m: Number of rows to average over, at least 1; all of a class that has fewer.

        Returns:
            ``(N, count)`` int64. Classes without rows come last; the first one always has some.
        """
        near = self.squared.topk(min(m, self.squared.shape[-1]), dim=-1, largest=False).values  # (N, C, m)
        there = near.isfinite()
        mean = torch.where(there, near, 0).sum(-1) / there.sum(-1)  # (N, C); NaN for a class without rows
        mean = mean.nan_to_num(nan=torch.finfo(mean.dtype).max).scatter(1, label[:, None], torch.inf)
        ranked = mean.argsort(dim=1, stable=True)  # (N, C), the true class last
        return ranked[:, : min(count, ranked.shape[1] - 1)]
