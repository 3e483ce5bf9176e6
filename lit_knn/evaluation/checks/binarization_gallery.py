"""A few rows in memory, in the place of the database that a surrogate_defense searches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.backbones import Classifier, Tap
from lit_knn.database import Gallery, parts_of, side_by_side
from lit_knn.database.index import Neighbors
from lit_knn.database.store import NeighborPredictions
from lit_knn.errors import UserError
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint


class BinarizationGallery(Gallery):
    """Rows of one's own: each is sure of a class, and weighs 1.

    Search is exact. Features are projected as the real database does.

    Args:
        real: The defense's.
        features: ``(M, D)`` float of each tap that is searched.
        vote: ``(M,)`` int64, what each row predicts.
        image: ``(M, 3, H, W)`` float in [0, 1], what it is the feature of.
    """

    def __init__(self, real: Gallery, features: Mapping[str, Tensor], vote: Tensor, image: Tensor) -> None:
        self._real = real
        self._features = {tap: feature.detach().float().cpu() for tap, feature in features.items()}
        self._vote, self._image = vote.cpu(), image.detach()

    def __len__(self) -> int:
        """Return M."""
        return len(self._vote)

    @property
    def ids(self) -> Tensor:
        """All of them."""
        return torch.arange(len(self))

    @property
    def num_classes(self) -> int:
        """C, as of the real one."""
        return self._real.num_classes

    def identity(self) -> Fingerprint:
        """Return the rows, and what projects a query."""
        return self._real.identity() | {"planted": describe([self._features, self._vote, self._image])}

    def tap(self, name: str) -> Tap:
        """Return a tap by name."""
        return self._real.tap(name)

    def encoder(self, classifier: Classifier) -> Classifier:
        """Return the network whose activations are projected and searched."""
        return self._real.encoder(classifier)

    def project(self, tap: str, pooled: Tensor) -> Tensor:
        """Return the features ``(N, D)`` of pooled activations, in their dtype."""
        return self._real.project(tap, pooled)

    def length(self, tap: str) -> int:
        """Return how many numbers a pooled activation has."""
        return self._real.length(tap)

    def unproject(self, tap: str, features: Tensor) -> Tensor:
        """Return pooled activations ``(..., D)`` of features of any shape, in their dtype."""
        return self._real.unproject(tap, features)

    def factor(self, tap: str) -> float:
        """Return what the features of a tap are multiplied by where they stand beside others'."""
        return self._real.factor(tap)

    def vectors(self, tap: str, ids: Tensor) -> Tensor:
        """Return the features ``(..., D)`` of a tap, or of all that are searched side by side, float32."""
        return self._of(tap)[ids.cpu()].to(ids.device)

    def _of(self, tap: str) -> Tensor:
        if tap in self._features:
            return self._features[tap]
        return side_by_side(self, {part: self._features[part] for part in parts_of(tap)})

    def search(self, tap: str, features: Tensor, k: int) -> Neighbors:
        """Return the k nearest rows of ``(N, D)`` features, the lower id of equally near ones first."""
        if not 1 <= k <= len(self):
            raise UserError(
                f"an attack asks for {k} neighbors of {len(self)} planted rows: raise BinarizationTest's inner"
            )
        asked = features.detach().cpu().double()
        distance = torch.cdist(asked, self._of(tap).double(), compute_mode="donot_use_mm_for_euclid_dist")  # (N, M)
        near = distance.sort(dim=1, stable=True)
        return Neighbors(near.indices[:, :k], near.values[:, :k].float()).to(features.device)

    def images(self, ids: Tensor) -> Tensor:
        """Return the images of rows ``(N, K)``: ``(N, K, 3, H, W)``."""
        return self._image[ids.to(self._image.device)].to(ids.device)

    def predictions(self, ids: Tensor) -> NeighborPredictions:
        """Return what rows ``(N, K)`` predict, as complete one-hot rows."""
        return NeighborPredictions(F.one_hot(self.votes(ids), self.num_classes).float(), None, self.num_classes)

    def votes(self, ids: Tensor) -> Tensor:
        """Return what rows ``(...)`` predict, int64."""
        return self._vote[ids.cpu()].to(ids.device)

    def labels(self, ids: Tensor) -> Tensor:
        """Return what rows ``(N, K)`` predict, int64."""
        return self.votes(ids)

    def weights(self, name: str, ids: Tensor) -> Tensor:
        """Return 1 for each of the rows ``(N, K)``, float32."""
        del name
        return torch.ones(ids.shape, device=ids.device)
