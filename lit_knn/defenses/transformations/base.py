"""Changes of an image before it is classified, and the defense that classifies the changed image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.query import Query
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness


class Transformation(ABC):
    """A change of images, each on its own.

    Attributes:
        name: What tables and figures call it.
        random: Whether the same image may become another one with other random numbers.
        differentiable: Whether its gradient is the one to follow: not zero or missing, as that of rounding is.
        keeps_size: Whether H and W stay.
    """

    name: str
    random: bool = True
    differentiable: bool = False
    keeps_size: bool = False

    @abstractmethod
    def __call__(self, image: Tensor, randomness: Randomness) -> Tensor:
        """Return changed images, ``(N, 3, H', W')`` in the dtype of ``image``.

        Args:
            image: ``(N, 3, H, W)`` float in [0, 1].
            randomness: A stream of random numbers for each image. Numbers from elsewhere would make results depend on
                the batch size and on the number of processes.
        """


class TransformedClassifier(Defense):
    """The classifier behind a transformation of the image.

    One forward pass for each draw; where there is a gradient, the memory is that of all of them.

    Args:
        transformation: What the classifier sees instead of the image.
        draws: Transformed images of each one, of a random transformation.
        combine: Several draws are one answer by the ``mean`` or the ``max`` of their softmax vectors, class by class.
            The mean is what papers report: a vote of the network over draws, each as sure as it is.
        name: What tables and figures call it; by default the transformation's name, with the number of draws.

    References:
        Guo et al. 2018, Section 3, predictions averaged over 30 crops; Raff et al. 2019, several random
        transformations.
    """

    def __init__(
        self,
        *,
        transformation: Transformation,
        draws: int = 1,
        combine: Literal["mean", "max"] = "mean",
        name: str = "",
    ) -> None:
        if draws < 1 or combine not in ("mean", "max"):
            raise UserError(
                f"TransformedClassifier has draws: {draws}, combine: {combine}; draws from 1, and mean or max are "
                "accepted"
            )
        if draws > 1 and not transformation.random:
            raise UserError(
                f"TransformedClassifier has draws: {draws}, but all of {transformation.name} are alike: 1 is accepted"
            )
        self.transformation, self.draws, self.combine = transformation, draws, combine
        several = f" {combine} of {draws}" if draws > 1 else ""
        self.name = name or transformation.name + several
        self.random = transformation.random

    @property
    def variants(self) -> list[Variant]:
        """One line."""
        return [Variant(self.name)]

    def __call__(self, query: Query) -> Tensor:
        """Return scores, ``(1, N, C)``: logits of one draw, logarithms of the combined softmax of several.

        A softmax itself would be saturated, which hides the gradient as rounding does.
        """
        logits = [
            query.classify(self.transformation(query.image, query.randomness("transformation", draw)))
            for draw in range(self.draws)
        ]
        if self.draws == 1:
            return logits[0][None]
        likelihood = torch.stack(logits).log_softmax(dim=-1)  # (draws, N, C)
        if self.combine == "max":
            return likelihood.amax(dim=0, keepdim=True)
        return likelihood.logsumexp(dim=0, keepdim=True) - math.log(self.draws)
