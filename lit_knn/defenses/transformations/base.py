"""The contract of a transformation: a change of images before they are classified."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from lit_knn.defenses.requirements import Requirements
from lit_knn.randomness import Randomness


class Transformation(ABC):
    """A change of images, each on its own.

    Attributes:
        name: What tables and figures call it.
        random: Whether the same image may become another one with other random numbers.
        differentiable: Whether its gradient is the one to follow: not zero or missing, as that of rounding is.
        keeps_size: Whether H and W stay.
        views: How many images it makes of the same one by the number of the draw, whatever its random numbers are.
    """

    name: str
    random: bool = True
    differentiable: bool = False
    keeps_size: bool = False
    views: int = 1

    def requirements(self) -> Requirements:
        """Return what has to be ready before it is asked; by default the image, and nothing that has to be built."""
        return Requirements()

    @abstractmethod
    def __call__(self, image: Tensor, randomness: Randomness) -> Tensor:
        """Return changed images, ``(N, 3, H', W')`` in the dtype of ``image``.

        Args:
            image: ``(N, 3, H, W)`` float in [0, 1].
            randomness: A stream of random numbers for each image, and the number of the draw. Numbers from elsewhere
                would make results depend on the batch size and on the number of processes.
        """

    def near(self, image: Tensor) -> Tensor:
        """Return a differentiable function that is close to this one, whose gradient attackers take if it has none.

        By default the image itself, for a transformation that returns about what it is given.

        Args:
            image: ``(N, 3, H, W)`` float in [0, 1].
        """
        return image
