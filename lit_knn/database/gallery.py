"""The contract of an opened database: what defenses and white-box attackers ask of it, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from lit_knn.backbones import Classifier, Tap
from lit_knn.database.index import Neighbors
from lit_knn.database.store import NeighborPredictions
from lit_knn.storage.fingerprint import Fingerprint


class Gallery(ABC):
    """Rows that a query may find, and what is known of each; a row goes by its id, int64.

    What is known of rows is returned where their ids lie.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Return how many rows may be found."""

    @property
    @abstractmethod
    def ids(self) -> Tensor:
        """The rows that may be found, ascending, on the CPU."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """C."""

    @abstractmethod
    def identity(self) -> Fingerprint:
        """Return what an answer depends on, besides the defended classifier."""

    @abstractmethod
    def tap(self, name: str) -> Tap:
        """Return a tap by name.

        Raises:
            UserError: If there is none of that name.
        """

    @abstractmethod
    def encoder(self, classifier: Classifier) -> Classifier:
        """Return the network whose activations are projected and searched: a database's own, or the defended one."""

    @abstractmethod
    def project(self, tap: str, pooled: Tensor) -> Tensor:
        """Return the features ``(N, D)`` of pooled activations, in their dtype."""

    @abstractmethod
    def length(self, tap: str) -> int:
        """Return how many numbers a pooled activation has."""

    @abstractmethod
    def unproject(self, tap: str, features: Tensor) -> Tensor:
        """Return pooled activations ``(..., D)`` of features of any shape, in their dtype.

        Raises:
            UserError: If they are bits.
        """

    @abstractmethod
    def factor(self, tap: str) -> float:
        """Return what the features of a tap are multiplied by where they stand beside others': 1 / their length."""

    @abstractmethod
    def search(self, tap: str, features: Tensor, k: int) -> Neighbors:
        """Return the k nearest rows of ``(N, D)`` features, where these lie."""

    @abstractmethod
    def vectors(self, tap: str, ids: Tensor) -> Tensor:
        """Return the features ``(..., D)`` of rows of any shape, float32."""

    @abstractmethod
    def predictions(self, ids: Tensor) -> NeighborPredictions:
        """Return what rows ``(N, K)`` predict."""

    @abstractmethod
    def votes(self, ids: Tensor) -> Tensor:
        """Return the classes that rows ``(...)`` predict, int64; two bytes of each are read."""

    @abstractmethod
    def labels(self, ids: Tensor) -> Tensor:
        """Return the true classes of rows ``(N, K)``, int64, −1 where unknown."""

    @abstractmethod
    def weights(self, name: str, ids: Tensor) -> Tensor:
        """Return a weight of rows ``(N, K)``, float32."""

    @abstractmethod
    def images(self, ids: Tensor) -> Tensor:
        """Return the images of rows ``(N, K)``: ``(N, K, 3, H, W)`` float32 in [0, 1].

        Raises:
            UserError: If one cannot be read, or they differ in size.
        """
