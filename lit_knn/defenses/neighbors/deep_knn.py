"""Papernot and McDaniel's defense: which class do neighbors at several layers support as clean images do?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_knn.backbones import Classifier
from lit_knn.database import Gallery, Resource, StoredGallery, joined
from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.left_out import drawn_rows, others
from lit_knn.defenses.neighbors.fused_knn import FusedKNN
from lit_knn.defenses.neighbors.knn import KNN
from lit_knn.defenses.neighbors.weighting import UW
from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements
from lit_knn.errors import UserError, counted

BLOCK = 1 << 20  # rows whose labels are read at once
VALUES = "nonconformity.npy"


class DeepKNN(Defense):
    """Choose the class whose support among the neighbors at several taps is most like that of clean images.

    The nonconformity of a class is the number of neighbors, over all taps, with another label. Its p-value is the share
    of a calibration set whose own class has at least that. The scores are the p-values; among equal ones those of a
    smaller nonconformity come first, by less than a half of what one image of the calibration set counts. The largest
    p-value is the `credibility` of an answer, 1 minus the second its `confidence`.

    Cost:
        One forward pass, one search and K labels for each tap.

    Args:
        taps: Names of taps of ``model.database``.
        k: Number of neighbors K at each tap.
        calibration: Number of rows in the calibration set; all rows, if there are fewer.
        seed: Of their choice, at least 0.

    References:
        Papernot and McDaniel 2018, "Deep k-nearest neighbors: towards confident, interpretable and robust deep
        learning", arXiv:1803.04765, Section IV and Algorithm 1 (K = 75, 750 images for calibration).

    Differences from the paper:
        The calibration set is not held out of a test set: its rows are taken from the database, and each is left out
        among its own neighbors. It is that of the largest database, where a run has several sizes. Neighbors are
        found by Euclidean distance of pooled activations after PCA, and not by the angle between whole ones. An answer
        where p-values are equal is defined.
    """

    random = False
    differentiable = False
    logits = False

    def __init__(self, *, taps: list[str], k: int = 75, calibration: int = 750, seed: int = 0) -> None:
        if not taps or len(set(taps)) < len(taps):
            raise UserError(f"DeepKNN takes a list of different taps, at least one, not {taps}")
        for name, value, least in (("k", k, 1), ("calibration", calibration, 1), ("seed", seed, 0)):
            if value < least:
                raise UserError(f"DeepKNN has {name}: {value}; {least} and more are accepted")
        self.taps, self.k = taps, k
        self.calibration = Calibration(taps, k, calibration, seed)

    @property
    def variants(self) -> list[Variant]:
        """One line."""
        return [Variant("DkNN", joined(self.taps), self.k)]

    def copies(self) -> list[Defense]:
        """Return itself, which has no gradient, and the vote of the same rows, which has stand-ins for one.

        The class with most votes of all taps is the one with the smallest nonconformity, and so the answer. Here rows
        vote with what is predicted for them, which is mostly their label, and more to climb: who attacks that vote
        knows this defense.
        """
        vote = KNN if len(self.taps) == 1 else partial(FusedKNN, fusion=["votes"])
        return [self, vote(taps=self.taps, k=[self.k], weightings=[UW()])]

    def requirements(self) -> Requirements:
        """Neighbors at each tap, their labels, and the calibration set."""
        return Requirements(
            neighbors=dict.fromkeys(self.taps, self.k), image=False, labels=True, resources=[self.calibration]
        )

    def __call__(self, query: Query) -> Tensor:
        """Return the p-values, ``(1, N, C)`` float64, with what decides between equal ones."""
        against = self.nonconformity(query)  # (N, C)
        fewer = 1 - against / (self.k * len(self.taps))
        return (self.calibration.p_values(against) + fewer / (2 * self.calibration.size))[None]

    def nonconformity(self, query: Query) -> Tensor:
        """Return the number of neighbors with another label than each class, ``(N, C)`` int64."""
        found = {tap: query.neighbors(tap).ids[:, : self.k] for tap in self.taps}
        return nonconformity(query.gallery, list(found.values()))

    def credibility(self, query: Query) -> Tensor:
        """Return the largest p-value, ``(N,)`` float64 in [0, 1]: how much the answer looks like a clean image's."""
        return self.calibration.p_values(self.nonconformity(query)).amax(dim=1)

    def confidence(self, query: Query) -> Tensor:
        """Return 1 minus the second largest p-value, ``(N,)`` float64 in [0, 1]: how far other answers are."""
        return 1 - self.calibration.p_values(self.nonconformity(query)).topk(2, dim=1).values[:, 1]


def nonconformity(gallery: Gallery, neighbors: list[Tensor]) -> Tensor:
    """Return how many of the rows ``(N, K)`` of several taps have another label than each class, ``(N, C)`` int64.

    A row without label is against all classes.
    """
    labels = torch.cat([gallery.labels(ids) for ids in neighbors], dim=1)  # (N, L·K)
    votes = torch.zeros(len(labels), gallery.num_classes, dtype=torch.int64, device=labels.device)
    votes.scatter_add_(1, labels.clamp_min(0), (labels >= 0).long())
    return labels.shape[1] - votes


class Calibration(Resource):
    """The nonconformity of the true class of rows of the database, each left out among its neighbors.

    Args:
        taps: Where neighbors are looked for.
        k: How many.
        rows: How many rows, drawn evenly; all, if there are fewer.
        seed: Of the draw.
    """

    taps: list[str]

    def __init__(self, taps: list[str], k: int, rows: int, seed: int) -> None:
        self.name = f"dknn {joined(taps)} {k}"
        self.taps, self.k, self.rows, self.seed = taps, k, rows, seed
        self._values = torch.zeros(0, dtype=torch.int64)  # ascending

    def settings(self) -> Any:
        """Return what decides the values besides the database."""
        return {"taps": self.taps, "k": self.k, "rows": self.rows, "seed": self.seed}

    def write(self, folder: Path, classifier: Classifier, gallery: StoredGallery) -> None:
        """Write the values, in order.

        Raises:
            UserError: If some rows have no label, or there are too few.
        """
        del classifier
        ids = gallery.ids
        without = sum(int((gallery.labels(part) < 0).sum()) for part in ids.split(BLOCK))
        if without:
            raise UserError(
                f"DeepKNN goes by the labels of rows, but {without:,} of {counted(len(ids), 'row', 'rows')} have none: "
                "data.database has fewer labels than rows, or some that are none of the network's "
                f"{gallery.num_classes:,} classes"
            )
        chosen = drawn_rows(gallery, self.rows, self.seed, k=self.k, whose="DeepKNN")
        found = [others(gallery, tap, chosen, gallery.vectors(tap, chosen), self.k).ids for tap in self.taps]
        values = nonconformity(gallery, found).gather(1, gallery.labels(chosen)[:, None])[:, 0]
        np.save(folder / VALUES, np.sort(values.numpy()))

    def read(self, folder: Path) -> None:
        """Hold the values."""
        values = np.load(folder / VALUES, allow_pickle=False)
        if values.dtype != np.int64 or values.ndim != 1 or not len(values):
            raise ValueError(f"{VALUES} is {values.dtype}{values.shape}")
        self._values = torch.from_numpy(values)

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self._values)

    def p_values(self, nonconformity: Tensor) -> Tensor:
        """Return the share of the values that are at least those of ``(N, C)`` int64: float64 in [0, 1]."""
        self._values = self._values.to(nonconformity.device)
        return 1 - torch.searchsorted(self._values, nonconformity.contiguous()).double() / self.size
