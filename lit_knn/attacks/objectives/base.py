"""The contract of an objective: what an attack maximizes, of each image on its own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from lit_knn.threat_models.attack_target import AttackTarget

if TYPE_CHECKING:
    from lit_knn.defenses import Defense
    from lit_knn.threat_models.surrogate_defense import SurrogateDefense

Score = Callable[[Tensor], Tensor]
"""Images ``(N, 3, H, W)`` → ``(N,)``, each image on its own, with a graph where gradients exist."""


class Bound:
    """An objective of a batch, which can be had of a part of it as well.

    Args:
        bind: Returns the objective of a batch.
        attacked: The batch.
    """

    def __init__(self, bind: Callable[[AttackTarget], Score], attacked: AttackTarget) -> None:
        self._bind, self._score = bind, bind(attacked)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the objective ``(N,)`` of images ``(N, 3, H, W)``."""
        return self._score(image)

    def on(self, attacked: AttackTarget) -> Bound:
        """Return the objective of another batch."""
        return Bound(self._bind, attacked)


class Objective(ABC):
    """What an attacker maximizes. Attacks say how, objectives say what: any of one goes with any of the other.

    Attributes:
        suffix: What it adds to the name of the attack; "" for the cross-entropy, which goes without saying.
        adaptive: Whether it looks at the defense, and so needs a threat that knows it.
        signed: Whether a value above 0 means that the answer is wrong.
        answers: Whether each value comes with an answer of the network or the defense to the very images, so that an
            attack may stop where that is wrong; see ``AttackTarget.answer``.
        targets: Number of wrong classes that are tried one after the other; 1 for an objective without target.
        highest: Its largest value, where a gradient of zero is no loss; infinite where it has none.
        drawn: Whether a value is another one where a copy that answers at random draws other numbers.
        flat_at_image: Whether its gradient is weak or zero at the clean image, so that no run should start there.
    """

    suffix: str = ""
    adaptive: bool = False
    signed: bool = False
    answers: bool = False
    targets: int = 1
    highest: float = math.inf
    drawn: bool = True
    flat_at_image: bool = False

    @abstractmethod
    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Do what depends on the clean images only, and return the function of the changed ones.

        Args:
            attacked: The batch under attack.
            target: From 0 to ``targets − 1``: which of the wrong classes, the most promising first.
        """

    def fits(self, copy: Defense, gradient: bool) -> bool:
        """Return whether it may be asked of a copy; by default it may.

        Args:
            copy: What the attacker copies.
            gradient: Whether its gradient is wanted, and not only its value.
        """
        del copy, gradient
        return True

    def verify(self, attack: str, surrogate_defense: SurrogateDefense | None) -> None:  # noqa: B027
        """Refuse, before anything is attacked, what this could not be asked for; by default nothing is.

        Args:
            attack: What messages call the attack.
            surrogate_defense: The attacker's copy of the defense, if they hold one.

        Raises:
            UserError: In a variant, if there are too few rows.
        """

    def choice(self, attacked: AttackTarget) -> Score:
        """Return what decides between the images of several restarts and targets; the highest is kept.

        By default the objective itself. Objectives with targets, whose values cannot be compared, and those that only
        stand in for the defense's decision choose by that decision.
        """
        return self.bind(attacked)


def with_gradient(value: Tensor, image: Tensor, gradient: Tensor) -> Tensor:
    """Return ``value (N,)`` with a chosen gradient ``(N, 3, H, W)`` with respect to ``image (N, 3, H, W)``."""
    linear = (gradient.detach() * (image - image.detach())).flatten(1).sum(dim=1)  # zero, but its gradient is not
    return value.detach() + linear
