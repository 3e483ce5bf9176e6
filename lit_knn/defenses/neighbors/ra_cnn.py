"""Zhao and Cho's defense: the network goes on from the convex hull of the neighbors' activations."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lit_knn.backbones import at_least_float32, outside_networks, read_tensors
from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.neighbors.hull import project_onto_hull
from lit_knn.defenses.neighbors.knn import KNN
from lit_knn.defenses.neighbors.weighting import UW
from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements
from lit_knn.errors import UserError

PROJECTION = "projection"  # name of U in a state dict


class RACNN(Defense):
    """Replace an activation by a point of the convex hull of its K nearest rows, and let the network go on from there.

    Without trained weights the point is the nearest one, found exactly, which no training has prepared the network for:
    the table says "training-free". With them it is ``Σ_k α_k φ_k``, where ``α = softmax_k(φ_kᵀ U φ)``, of the
    activations φ of the image and φ_k of its rows; the network that was trained with U is then ``model.classifier``.

    A store keeps pooled activations after PCA, so the tap has to hold a whole activation: a vector, such as ``flatten``
    of a ResNet, or maps with a ``pool`` as large as they are. What PCA leaves out of the rows is left out of the image.

    Its scores have the gradient of the projection, given which rows are the nearest. An attack on these changes more
    answers than that gradient does: an attacker who has a kNN as well leaves nothing.

    Cost:
        One forward pass, one search of its own for each batch, and the projection, see `project_onto_hull`. Without an
        index, or rows held in memory, that search reads all of the store.

    Args:
        tap: Name of a tap of ``model.database``.
        k: Number of neighbors K, at least 1.
        weights: State dict with one tensor, ``projection``: U, ``(D, D)`` float, where D is the length of the
            activation, flattened; ``.pth`` or ``.safetensors``.
        layer: Where the network goes on, which has to be the layer of the tap; by default the tap is named after it.

    References:
        Zhao and Cho 2019, "Retrieval-augmented convolutional neural networks against adversarial examples", Section 2
        (K = 5 and 10).

    Differences from the paper:
        Without weights there is no training, neither of U nor by local mixup. One network retrieves and classifies, at
        one layer; the paper's retrieves with another. The nearest point of the hull is meant by the paper, which
        approximates it by U.
    """

    random = False
    differentiable = True

    def __init__(self, *, tap: str, k: int = 10, weights: str | Path | None = None, layer: str = "") -> None:
        if k < 1:
            raise UserError(f"RACNN has k: {k}; 1 and more are accepted")
        self.tap, self.k, self.layer = tap, k, layer or tap
        self.projection = None if weights is None else _trained(weights)

    @property
    def variants(self) -> list[Variant]:
        """One line."""
        return [Variant("RA-CNN" if self.projection is not None else "RA-CNN (training-free)", self.tap, self.k)]

    def copies(self) -> list[Defense]:
        """Return itself, and the kNN on the same rows: attacks on that bring rows of other classes among them.

        Where all rows are of one class, no point of their hull is another's, and the gradient leads nowhere.
        """
        return [self, KNN(taps=[self.tap], k=[self.k], weightings=[UW()])]

    def requirements(self) -> Requirements:
        """The neighbors, the image, and the layer where the network goes on."""
        return Requirements(neighbors={self.tap: self.k}, layers=(self.layer,))

    def __call__(self, query: Query) -> Tensor:
        """Return the logits, ``(1, N, C)``."""

        def change(activation: Tensor) -> Tensor:
            with outside_networks(activation.device):  # a network may be computing in bfloat16, distances never do
                return self._on_the_hull(query, activation)

        return query.resume(self.layer, change)[None]

    def _on_the_hull(self, query: Query, activation: Tensor) -> Tensor:
        """Return what the network goes on with, in the shape and dtype of the activation ``(N, ...)``."""
        gallery = query.gallery
        whole = at_least_float32(activation.flatten(1))  # (N, D)
        self._verify(query, activation)
        features = gallery.project(self.tap, whole)  # (N, d)
        ids = gallery.search(self.tap, features, self.k).ids  # the query would take another pass to know them
        rows = gallery.vectors(self.tap, ids).to(features)  # (N, K, d)
        if self.projection is None:
            point = project_onto_hull(features, rows).point  # the same as of the whole activation: PCA is orthonormal
        else:
            keys = gallery.unproject(self.tap, rows)  # (N, K, D)
            trained = self.projection.to(whole)
            if trained.shape[0] != whole.shape[1]:
                raise UserError(
                    f"RACNN has weights for activations of {trained.shape[0]:,} numbers, but tap {self.tap!r} has "
                    f"{whole.shape[1]:,}"
                )
            shares = (keys @ (whole @ trained.T)[..., None])[..., 0].softmax(dim=1)  # (N, K)
            point = (shares[:, None] @ rows)[:, 0]
        return gallery.unproject(self.tap, point).to(activation).view_as(activation)

    def _verify(self, query: Query, activation: Tensor) -> None:
        tap = query.gallery.tap(self.tap)
        if not query.searches_own_features:
            raise UserError(
                "RACNN goes on from activations of model.classifier, but the database has those of another network: "
                "it takes one without model.database.network"
            )
        if tap.layer != self.layer:
            raise UserError(
                f"RACNN goes on from layer {self.layer!r}, but tap {self.tap!r} is of {tap.layer!r}: set its layer"
            )
        rows = query.gallery.length(self.tap)
        last = tap.channels == "last" and activation[0].numel() != activation.shape[-1]
        tokens = activation.ndim == 3 and min(activation.shape[1:]) > 1  # a grid of them has its channels first
        if tap.pool == "rmac" or tap.metric == "cosine" or rows != activation[0].numel() or last or tokens:
            raise UserError(
                f"RACNN goes on from whole activations, but tap {self.tap!r} pools one of shape "
                f"{tuple(activation.shape[1:])} to {rows} numbers (metric {tap.metric}): take one of a vector, such as "
                "`flatten` of a ResNet, or a pool as large as the maps, and the Euclidean metric"
            )


def _trained(path: str | Path) -> Tensor:
    """Return U ``(D, D)``.

    Raises:
        UserError: If the file holds something else.
    """
    found = read_tensors(path)
    tensor = found.get(PROJECTION) if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(tensor, Tensor) or tensor.ndim != 2 or tensor.shape[0] != tensor.shape[1]:
        raise UserError(
            f"weights {path} of RACNN are a state dict with one square matrix called {PROJECTION!r}, "
            "and this file holds something else"
        )
    if not (tensor.is_floating_point() and tensor.isfinite().all()):
        raise UserError(f"weights {path} of RACNN hold numbers that are not finite floats")
    return tensor
