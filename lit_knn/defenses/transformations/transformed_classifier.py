"""The defense that classifies a changed image."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements
from lit_knn.defenses.transformations.base import Transformation
from lit_knn.defenses.transformations.bpda import BPDA
from lit_knn.errors import UserError


class TransformedClassifier(Defense):
    """The classifier behind a transformation of the image.

    Cost:
        One forward pass for each draw; with a gradient another one for each of several, in the memory of one.

    Args:
        transformation: What the classifier sees instead of the image.
        draws: Transformed images of each one; by default as many as the transformation has views, and not more where it
            is not random.
        combine: Several draws are one answer by the ``mean`` or the ``max`` of their softmax vectors, class by class.
            The mean is what papers report: a vote of the network over draws, each as sure as it is.
        name: What tables and figures call it; by default the transformation's name, and with several draws their
            number, such as ``crop ×30``, or ``crop max ×30``.

    References:
        Guo et al. 2018, Section 3, predictions averaged over 30 crops; Raff et al. 2019, several random
        transformations.
    """

    def __init__(
        self,
        *,
        transformation: Transformation,
        draws: int | None = None,
        combine: Literal["mean", "max"] = "mean",
        name: str = "",
    ) -> None:
        draws = transformation.views if draws is None else draws
        if draws < 1 or combine not in ("mean", "max"):
            raise UserError(
                f"TransformedClassifier has draws: {draws}, combine: {combine}; draws from 1, and mean or max are "
                "accepted"
            )
        if draws > transformation.views and not transformation.random:
            raise UserError(
                f"TransformedClassifier has draws: {draws}, but {transformation.name} is not random: at most "
                f"{transformation.views} {'is' if transformation.views == 1 else 'are'} accepted"
            )
        self.transformation, self.draws, self.combine = transformation, draws, combine
        several = f"{' max' if combine == 'max' else ''} ×{draws}" if draws > 1 else ""
        self.name = name or transformation.name + several
        self.random, self.differentiable = transformation.random, transformation.differentiable

    @property
    def variants(self) -> list[Variant]:
        """One line."""
        return [Variant(self.name)]

    def requirements(self) -> Requirements:
        """Return those of the transformation."""
        return self.transformation.requirements()

    def copies(self) -> list[Defense]:
        """Return itself, with a gradient from `BPDA` where it has none of its own."""
        own = self.transformation
        copied = own if own.differentiable else BPDA(transformation=own)
        return [TransformedClassifier(transformation=copied, draws=self.draws, combine=self.combine, name=self.name)]

    def __call__(self, query: Query) -> Tensor:
        """Return scores, ``(1, N, C)``: logits of one draw, logarithms of the combined softmax of several.

        A softmax itself would be saturated, which hides the gradient as rounding does.
        """
        if self.draws == 1:
            return self._draw(query, query.image, 0)[None]
        with set_checkpoint_early_stop(False):  # which ends a pass by an exception
            logits = [
                checkpoint(self._draw, query, query.image, draw, use_reentrant=False, preserve_rng_state=False)
                for draw in range(self.draws)
            ]
        likelihood = torch.stack(logits).log_softmax(dim=-1)  # (draws, N, C)
        if self.combine == "max":
            return likelihood.amax(dim=0, keepdim=True)
        return likelihood.logsumexp(dim=0, keepdim=True) - math.log(self.draws)

    def _draw(self, query: Query, image: Tensor, draw: int) -> Tensor:
        return query.classify(self.transformation(image, query.randomness("transformation", draw)))
