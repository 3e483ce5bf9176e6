"""What is known of clean or attacked images before anybody searches: from images, or from what was kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor

from lit_knn.attacks import Attempt
from lit_knn.backbones import Classifier, at_least_float32
from lit_knn.database import StoredGallery
from lit_knn.database.index import Neighbors
from lit_knn.database.joined_taps import read_at
from lit_knn.defenses import Query, Seen
from lit_knn.evaluation.cache import TOLD, BatchKey, CachedCase, Columns
from lit_knn.evaluation.scorers import Scorer
from lit_knn.randomness import Randomness
from lit_knn.threat_models.budget import RELATIVE_L2, Budget


class Observation(NamedTuple):
    """N images, clean or attacked at one Δ, as they are scored.

    Attributes:
        query: What a defense may ask that does not look at the image.
        scores: ``(V, N, C)`` of each evaluation by a defense that does, by column.
        realized: ``(N,)`` float, size of the perturbation in pixels.
        realized_normalized: ``(N,)`` float, Δ in the classifier's normalized space, whatever the budget is in.
        flat: ``(N,)`` bool: was the gradient zero wherever the attack looked?
        passes: ``(N, 2)`` int64: how often did the image pass what was attacked, forward and backward?
    """

    query: Query
    scores: Mapping[str, Tensor]
    realized: Tensor
    realized_normalized: Tensor
    flat: Tensor
    passes: Tensor


class Observer:
    """Shows images to the defended classifier and the network that retrieves, and reads what was kept of that.

    Args:
        classifier: The defended one.
        views: The databases, each with all rows of the one before; none where no defense retrieves.
        needed: Largest number of neighbors that any defense wants, by tap.
        scorers: Who answers.
        budget: Says how perturbations are measured.
        seed: Of defenses that draw random numbers.
    """

    def __init__(
        self,
        classifier: Classifier,
        views: Sequence[StoredGallery],
        needed: Mapping[str, int],
        scorers: Sequence[Scorer],
        budget: Budget = RELATIVE_L2,
        seed: int = 0,
    ) -> None:
        self.classifier, self.views, self.needed = classifier, views, needed
        self._budget, self._seed = budget, seed
        self._gallery = views[-1] if views else None
        self._looking = {
            name: partial(scorer, evaluation=number) for scorer in scorers for number, name in enumerate(scorer.columns)
        }
        taps = read_at(views[-1], needed) if views else []
        self.taps = {tap.name: views[-1].column(tap.name) for tap in taps}  # column of each

    @property
    def wanted(self) -> set[str]:
        """The columns that scores are made from."""
        return {"logits", "realized", "realized_normalized", *TOLD, *self.taps.values(), *self._looking}

    def query(self, ids: Tensor, image: Tensor | None, seen: Seen | None = None) -> Query:
        """Return a query for ``image (N, 3, H, W)`` with these ids ``(N,)``, or for what was kept of it."""
        return Query(image, self.classifier, self._gallery, self.needed, seen, Randomness(self._seed, ids))

    def columns(self, ids: Tensor, image: Tensor, attacked: Tensor, told: Columns) -> Columns:
        """Show images to each network, in one pass, and to the defenses that look at them.

        Args:
            ids: ``(N,)`` int64.
            image: ``(N, 3, H, W)`` float in [0, 1], clean.
            attacked: ``(N, 3, H, W)``, the same or what an attack made of them.
            told: What the attack tells of them, kept as it is.
        """
        normalize, query = self.classifier.normalize, self.query(ids, attacked)
        columns = {
            "logits": query.logits,  # of the one pass that gives the activations as well
            "realized": self._budget.realized(image, attacked),
            "realized_normalized": RELATIVE_L2.realized(normalize(image), normalize(attacked)),
        }
        columns |= {self.taps[tap]: activation for tap, activation in query.activations.items()}
        columns |= {name: answer(query).transpose(0, 1) for name, answer in self._looking.items()}  # (N, V, C)
        return {name: at_least_float32(value.detach()) for name, value in columns.items()} | told

    def observe(
        self,
        cached: CachedCase,
        batch: BatchKey,
        image: Tensor,
        deltas: Sequence[float],
        attack: Callable[[Sequence[float]], Iterator[Attempt]],
    ) -> Iterator[Observation]:
        """Yield what is known of a batch ``(N, 3, H, W)`` in one case at each Δ; what is not known yet is attacked.

        Args:
            cached: What is known of the case.
            batch: Which.
            image: Clean, float in [0, 1].
            deltas: Each Δ in [0, 1].
            attack: Attacks the batch, lazily.
        """
        columns = partial(self.columns, batch.ids, image)
        for found in cached.observe(batch, image, deltas, attack=attack, columns=columns):
            yield self.observation(batch.ids, found)

    def observation(
        self, ids: Tensor, columns: Columns, neighbors: Sequence[Mapping[str, Neighbors]] | None = None
    ) -> Observation:
        """Return what scores are made from.

        Args:
            ids: ``(N,)`` int64.
            columns: All that are wanted.
            neighbors: By tap, for each of the views; by default they are searched when somebody asks.
        """
        seen = Seen(columns["logits"], {tap: columns[name] for tap, name in self.taps.items()})
        query = self.query(ids, None, seen)
        for view, found in zip(self.views, neighbors or [], strict=False):
            query.of(view).know(found)
        return Observation(
            query,
            {name: columns[name].transpose(0, 1) for name in self._looking},
            *(columns[name] for name in ("realized", "realized_normalized", *TOLD)),
        )
