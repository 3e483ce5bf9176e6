"""Rows of each class of a database, so that an attack can ask for the nearest ones of a class it chooses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_knn.database import Gallery
from lit_knn.errors import UserError

MOST = 100_000  # rows in all: 100 MB at 256 dimensions, and a product with them costs less than a forward pass


class Found(NamedTuple):
    """The m rows of each of G chosen classes that lie next to each of N features, nearest first.

    Attributes:
        ids: ``(N, G, m)`` int64, rows of the store; without meaning where there is no such row.
        vectors: ``(N, G, m, D)`` float, their features.
        present: ``(N, G, m)`` bool, whether there is such a row: a class may have fewer than m.
    """

    ids: Tensor
    vectors: Tensor
    present: Tensor


class ClassExemplars:
    """Hold a sample of the rows that vote for each class, with their features in memory.

    Takes ``most`` · D · 4 bytes at most, and one reading of the predictions of all rows.

    Args:
        gallery: Database that the rows are taken from.
        tap: Name of the tap whose features are held.
        most: Largest number of rows in all, evenly spread over the classes.
        seed: Seed of the random choice among the rows of a class that has more than its share.

    Attributes:
        ids: ``(C, P)`` int64, rows of the store, 0 where a class has fewer than P.
        present: ``(C, P)`` bool, where it has not.
        vectors: ``(C, P, D)`` float. These three move to the device and dtype of the features last asked about.

    Raises:
        UserError: If all rows vote for one class.
    """

    def __init__(self, gallery: Gallery, tap: str, *, most: int = MOST, seed: int = 0) -> None:
        rows = gallery.ids
        vote = np.concatenate(
            [
                gallery.predictions(part[:, None], torch.device("cpu")).classes()[:, 0].numpy()
                for part in np.array_split(rows, max(len(rows) // 65_536, 1))
            ]
        )  # (M,)
        classes = gallery.num_classes
        counts = np.bincount(vote, minlength=classes)
        if (counts > 0).sum() < 2:
            raise UserError("all rows of the attacker's database vote for one class: there is no other to be drawn to")
        each = max(min(int(counts.max()), most // classes), 1)
        chosen = np.full((classes, each), -1, np.int64)
        random = np.random.RandomState(seed)  # NumPy froze this generator
        for number in range(classes):
            mine = random.permutation(rows[vote == number])[:each]
            chosen[number, : len(mine)] = np.sort(mine)
        self.ids = torch.from_numpy(chosen.clip(min=0))
        self.present = torch.from_numpy(chosen >= 0)
        self.vectors = torch.from_numpy(gallery.vectors(tap, self.ids.numpy()))

    def around(self, features: Tensor) -> Around:
        """Measure how far all rows are from features ``(N, D)``, for any number of questions about them."""
        with torch.no_grad():
            return Around(self, self._squared(features))

    def nearest(self, features: Tensor, classes: Tensor, m: int) -> Found:
        """Return the rows of chosen classes next to features ``(N, D)``; see :meth:`Around.nearest`."""
        return self.around(features).nearest(classes, m)

    def wrong(self, features: Tensor, label: Tensor, count: int, m: int) -> Tensor:
        """Return the wrong classes nearest to features ``(N, D)``; see :meth:`Around.wrong`."""
        return self.around(features).wrong(label, count, m)

    def _squared(self, features: Tensor) -> Tensor:
        """Return squared distances ``(N, C, P)``, to the rounding of the largest norm; infinite for no row."""
        self.vectors = self.vectors.to(features)
        self.ids, self.present = self.ids.to(features.device), self.present.to(features.device)
        flat = self.vectors.flatten(0, 1)  # (C·P, D)
        squared = (features**2).sum(1, keepdim=True) - 2 * features @ flat.T + (flat**2).sum(1)  # (N, C·P)
        return squared.view(-1, *self.present.shape).masked_fill(~self.present, torch.inf)


class Around(NamedTuple):
    """The rows as seen from N features.

    Attributes:
        exemplars: Whose rows.
        squared: ``(N, C, P)`` float, squared distances; infinite where a class has no such row.
    """

    exemplars: ClassExemplars
    squared: Tensor

    def nearest(self, classes: Tensor, m: int) -> Found:
        """Return the rows of chosen classes that lie nearest.

        Args:
            classes: ``(N, G)`` int64.
            m: How many of each class; the size P of the largest class if that is smaller.
        """
        chosen = self.squared.gather(1, classes[..., None].expand(-1, -1, self.squared.shape[-1]))  # (N, G, P)
        near = chosen.topk(min(m, chosen.shape[-1]), dim=-1, largest=False)
        where = classes[..., None], near.indices  # (N, G, m)
        return Found(self.exemplars.ids[where], self.exemplars.vectors[where], near.values.isfinite())

    def wrong(self, label: Tensor, count: int, m: int) -> Tensor:
        """Return the wrong classes whose m nearest rows lie closest on average, closest first.

        Args:
            label: ``(N,)`` int64, the true classes.
            count: How many classes; C − 1 if that is smaller.
            m: How many rows; all of a class that has fewer.

        Returns:
            ``(N, count)`` int64. Classes without rows come last; the first one always has some.
        """
        near = self.squared.topk(min(m, self.squared.shape[-1]), dim=-1, largest=False).values  # (N, C, m)
        there = near.isfinite()
        mean = torch.where(there, near, 0).sum(-1) / there.sum(-1)  # (N, C); NaN for a class without rows
        mean = mean.nan_to_num(nan=torch.finfo(mean.dtype).max).scatter(1, label[:, None], torch.inf)
        ranked = mean.argsort(dim=1, stable=True)  # (N, C), the true class last
        return ranked[:, : min(count, ranked.shape[1] - 1)]
