"""A database of a few rows in memory, in the place of the one that a replica searches."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.backbones import Tap
from lit_knn.ballots import Ballots
from lit_knn.database import Database
from lit_knn.errors import UserError
from lit_knn.index import Neighbors
from lit_knn.store import Schema


class PlantedRows:
    """What attackers read of a store.

    Args:
        features: ``(M, D)`` float32, of the one tap.
        schema: Of the real store.
    """

    def __init__(self, features: NDArray[np.float32], schema: Schema) -> None:
        self._features, self.schema = features, schema

    def __len__(self) -> int:
        """Return M."""
        return len(self._features)

    def features(self, tap: str, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``(..., D)`` float32 features."""
        del tap
        return self._features[ids]


class PlantedDatabase:
    """The answering part of a :class:`Database`, with rows of one's own: each is sure of a class, and weighs 1.

    Search is exact. Features are projected as the real database does.

    Args:
        database: The real one, opened.
        features: ``(M, D)`` float, of the one tap that is searched.
        vote: ``(M,)`` int64, what each row predicts.
        image: ``(M, 3, H, W)`` float in [0, 1], what it is the feature of.
    """

    among: NDArray[np.bool_] | None = None

    def __init__(self, database: Database, features: Tensor, vote: Tensor, image: Tensor) -> None:
        self.store = PlantedRows(features.detach().float().cpu().numpy(), database.store.schema)
        self._database, self._vote, self._image = database, vote.cpu(), image.detach()

    def tap(self, name: str) -> Tap:
        """Return a tap by name."""
        return self._database.tap(name)

    def project(self, tap: str, pooled: Tensor) -> Tensor:
        """Return the features ``(N, D)`` of pooled activations, in their dtype."""
        return self._database.project(tap, pooled)

    def search(self, tap: str, features: Tensor, k: int) -> Neighbors:
        """Return the k nearest rows of ``(N, D)`` features, the lower id of equally near ones first."""
        if not 1 <= k <= len(self.store):
            raise UserError(
                f"an attack asks for {k} neighbours of {len(self.store)} planted rows: raise Planted's inner"
            )
        rows = torch.from_numpy(self.store.features(tap, np.arange(len(self.store)))).double()
        asked = features.detach().cpu().double()
        distance = torch.cdist(asked, rows, compute_mode="donot_use_mm_for_euclid_dist")  # (N, M)
        near = distance.sort(dim=1, stable=True)
        return Neighbors(near.indices[:, :k].numpy(), near.values[:, :k].float().numpy())

    def images(self, ids: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return the images of rows ``(N, K)``: ``(N, K, 3, H, W)``."""
        return self._image[torch.from_numpy(ids).to(self._image.device)].to(device)

    def ballots(self, ids: NDArray[np.int64], device: torch.device) -> Ballots:
        """Return what rows ``(N, K)`` predict, as complete one-hot rows."""
        classes = self.store.schema.num_classes
        one_hot = F.one_hot(self._vote[torch.from_numpy(ids)], classes)  # (N, K, C)
        return Ballots(one_hot.float().to(device), None, classes)

    def weights(self, name: str, *, ids: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return 1 for each of the rows ``(N, K)``, float32."""
        del name
        return torch.ones(ids.shape, device=device)
