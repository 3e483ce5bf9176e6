"""What a white-box attacker holds: a copy of the defense, over their own view of the database."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, partial

import torch
from torch import Tensor

from lit_knn.backbones import Classifier
from lit_knn.database import Gallery, features_of, joined, read_at, side_by_side
from lit_knn.database.index import Neighbors
from lit_knn.defenses import KNN, Defense, FusedKNN, Query, RandomDatabase
from lit_knn.defenses.neighbors.fused_knn import first_of_each
from lit_knn.defenses.neighbors.knn import COMBINE
from lit_knn.defenses.neighbors.nearness import Nearness
from lit_knn.defenses.neighbors.vote import coefficients
from lit_knn.defenses.searching import layers, searching
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.class_exemplars import ClassExemplars

ROUNDING = 2.0**-10  # a stored float16 feature is within this share of its norm of the image's own


class SurrogateDefense:
    """Answer as one variant of a defense does, and show the attacker its features, neighbors and votes.

    Args:
        classifier: The defended classifier.
        defense: The defense that is copied, with one variant.
        gallery: The attacker's view of the database; None for a defense without retrieval.
        beside: Defenses that an image has to break as well before an attack may leave it, of no more neighbors.

    Raises:
        UserError: If the defense has several variants.
    """

    def __init__(
        self,
        classifier: Classifier,
        defense: Defense,
        gallery: Gallery | None = None,
        beside: Sequence[Defense] = (),
    ) -> None:
        if len(defense.variants) != 1:
            raise UserError(f"a white-box attacker copies one variant of a defense, not {len(defense.variants)}")
        self.classifier, self.defense, self._gallery, self.beside = classifier, defense, gallery, beside

    def query(self, image: Tensor, randomness: Randomness | None = None) -> Query:
        """Return images as the defense sees them.

        Args:
            image: ``(N, 3, H, W)`` float in [0, 1].
            randomness: Random streams of the same images, for a defense that draws: never those of the defense itself,
                which no attacker knows. By default there are none.
        """
        return Query(image, self.classifier, self._gallery, self.defense.needed, randomness=randomness)

    def scores(self, image: Tensor, randomness: Randomness | None = None) -> Tensor:
        """Return the defense's scores ``(N, C)``, with gradients where the defense is differentiable.

        It takes one answer of the defense: in general a forward pass, and a search where the defense retrieves. The
        arguments are those of `query`.
        """
        return self.defense(self.query(image, randomness))[0]

    def answers(self, query: Query, scores: Tensor | None = None) -> Tensor:
        """Return the scores ``(V, N, C)`` of the defense, which may be known, and of all beside it."""
        own = self.defense(query) if scores is None else scores[None]
        return torch.cat([own, *(defense(query) for defense in self.beside)])

    def evaluations(self, draws: int) -> int:
        """Return how many answers are made of so many random draws: one, where nothing is drawn."""
        if not self.defense.random:
            return draws if self.classifier.randomized else 1
        return math.ceil(draws / self.defense.draws)

    # ---------------------------------------------------------------- retrieval

    @property
    def retrieval(self) -> KNN | FusedKNN:
        """The copied defense as a kNN, at one tap or at several together.

        Raises:
            UserError: If it is none.
        """
        copy = searching(self.defense)
        if copy is None:
            raise UserError(
                f"this attack looks for neighbors, but its threat's defense is {type(self.defense).__name__}"
            )
        return copy

    @property
    def gallery(self) -> Gallery:
        """The attacker's view of the database.

        Raises:
            UserError: If there is none.
        """
        if self._gallery is None:
            raise UserError("a defense asks for neighbors, but the configuration has no model.database")
        return self._gallery

    @property
    def tap(self) -> str:
        """Name of the tap whose features are searched, or of those of several taps side by side."""
        return joined(self.retrieval.taps)

    @property
    def is_union(self) -> bool:
        """Whether the neighbors of all taps vote together."""
        return isinstance(self.retrieval, FusedKNN) and self.retrieval.fusion == ["neighbors"]

    @property
    def k(self) -> int:
        """Number of neighbors that vote; of a random part of the rows, among how many of all they are."""
        among = next((layer.reach for layer in layers(self.defense) if isinstance(layer, RandomDatabase)), None)
        return self.retrieval.k[0] if among is None else min(among, len(self.gallery))

    def features(self, image: Tensor) -> Tensor:
        """Return the projected features ``(N, D)`` of images, with gradients, by one forward pass up to the tap."""
        pooled = self._read(image, [self.tap])
        return features_of(self.gallery, self.tap, pooled)

    def searched(self, image: Tensor) -> dict[str, Tensor]:
        """Return what is searched of images: the features ``(N, D)`` at each tap, or of all taps side by side."""
        taps = list(self.retrieval.needed)
        pooled = self._read(image, taps)
        return {tap: features_of(self.gallery, tap, pooled) for tap in taps}

    def _read(self, image: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        encoder = self.gallery.encoder(self.classifier)
        return encoder.activations(image, read_at(self.gallery, taps))

    def together(self, searched: dict[str, Tensor]) -> Tensor:
        """Return the features ``(N, D)`` of `features` from those of each tap."""
        return searched[self.tap] if self.tap in searched else side_by_side(self.gallery, searched)

    def found(self, features: Tensor, k: int) -> Neighbors:
        """Return the k rows nearest to features ``(N, D)``, by one search.

        Where a defense searches each tap by itself, those of the k nearest rows of any tap that are nearest side by
        side, which need not be the nearest of all.
        """
        if self.tap in self.retrieval.needed:
            return self.gallery.search(self.tap, features, k)
        with torch.no_grad():
            apart = dict(zip(self.retrieval.taps, features.split(self._widths, dim=1), strict=True))
            apart = {tap: feature / self.gallery.factor(tap) for tap, feature in apart.items()}
            found = [self.gallery.search(tap, feature, k).ids for tap, feature in apart.items()]
            ids = torch.stack(found, dim=1)  # (N, T, k)
            new = first_of_each(ids, torch.ones_like(ids[0, 0], dtype=torch.bool))  # (N, T·k)
            apart_by = (features[:, None] - self.vectors(ids.flatten(1), features)).norm(dim=2)  # (N, T·k)
            near = apart_by.masked_fill(~new, torch.inf).sort(dim=1, stable=True)
            return Neighbors(ids.flatten(1).gather(1, near.indices[:, :k]), near.values[:, :k].float())

    @cached_property
    def _widths(self) -> list[int]:
        first = self.gallery.ids[:1]
        return [self.gallery.vectors(tap, first).shape[-1] for tap in self.retrieval.taps]

    def nearest(self, features: Tensor, k: int, *, exclude_self: bool = False) -> Tensor:
        """Return the rows ``(N, k)`` int64 nearest to features ``(N, D)``, nearest first, by one search.

        Args:
            features: ``(N, D)`` float, on any device: so are the rows.
            k: Number of rows, at least 1.
            exclude_self: Leave out a row whose feature is the query's own, to the rounding of the store, as a distance
                has no gradient there.
        """
        if not exclude_self:
            return self.found(features, k).ids
        found = self.found(features, k + 1)
        query = features.detach().float()
        first = self.gallery.vectors(self.tap, found.ids[:, 0])  # an index may round distances of copies away from 0
        itself = (query - first).norm(dim=1) <= ROUNDING * query.norm(dim=1)  # (N,)
        return torch.where(itself[:, None], found.ids[:, 1:], found.ids[:, :-1])

    def neighbors(self, image: Tensor, k: int, *, exclude_self: bool = False) -> Tensor:
        """Return the rows ``(N, k)`` nearest to images, by a forward pass up to the tap; see `nearest`."""
        with torch.no_grad():
            return self.nearest(self.features(image), k, exclude_self=exclude_self)

    def vectors(self, ids: Tensor, like: Tensor, tap: str = "") -> Tensor:
        """Return the stored features of rows ``(N, K)``: ``(N, K, D)`` on the device and in the dtype of ``like``.

        Args:
            ids: ``(N, K)`` int64.
            like: A tensor.
            tap: Which; by default that of `tap`.
        """
        return self.gallery.vectors(tap or self.tap, ids).to(like)

    def images(self, ids: Tensor, like: Tensor) -> Tensor:
        """Return the images of rows ``(N, K)``: ``(N, K, 3, H, W)`` on the device and in the dtype of ``like``.

        Args:
            ids: ``(N, K)`` int64.
            like: ``(N, 3, H, W)`` float, the queries, which all images have to equal in height and width.

        Raises:
            UserError: If an image has another size, or cannot be read.
        """
        images = self.gallery.images(ids).to(like)
        if images.shape[2:] != like.shape[1:]:
            sizes = " and ".join("×".join(map(str, part.shape[-2:])) for part in (like, images))
            raise UserError(f"queries and database differ in size, {sizes} pixels: set data.preprocessing")
        return images

    def vote(self, ids: Tensor, membership: Tensor, nearness: Nearness) -> Tensor:
        """Return the scores ``(N, C)`` that the defense would give if rows were neighbors to a degree.

        Args:
            ids: ``(N, J)`` int64, the rows that vote.
            membership: ``(N, J)`` float on the same device, at least 0, the degree to which each of them is a neighbor:
                1 for the K nearest and 0 for the others is the defense itself. The scores have its gradients.
            nearness: How near they are, for weightings that go by it; the scores have its gradients as well.
        """
        predictions = self.gallery.predictions(ids)
        predictions = predictions._replace(probability=predictions.probability.to(membership))
        stored = partial(self.gallery.weights, ids=ids)
        weights = self.retrieval.weightings[0].lent(predictions, stored, nearness).to(membership)
        shares = coefficients((membership * weights)[None], [ids.shape[1]])  # (1, N, J)
        return COMBINE[self.retrieval.combinations[0]](shares, predictions)[0]

    @cached_property
    def exemplars(self) -> ClassExemplars:
        """Sample of the rows of each class, for attacks that draw an image toward a class or away from it."""
        return ClassExemplars(self.gallery, self.tap)
