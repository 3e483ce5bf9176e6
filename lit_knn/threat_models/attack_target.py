"""What an attacker is given: the images to change, a network to look into, and perhaps a copy of the defense."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.randomness import Randomness

if TYPE_CHECKING:
    from lit_knn.threat_models.surrogate_defense import SurrogateDefense


@dataclass(eq=False)
class AttackTarget:
    """A batch under attack.

    Args:
        model: Images ``(N, 3, H, W)`` in [0, 1] → logits ``(N, C)``.
        image: ``(N, 3, H, W)`` float32 (or float64) in [0, 1], clean.
        label: ``(N,)`` int64, the true classes.
        ids: ``(N,)`` int64.
        surrogate_defense: The attacker's copy of the defense; None for an attacker who does not know it.
        highest: Largest value that what is climbed can have.

    Attributes:
        flat: ``(N,)`` bool of each gradient that was taken: where it was zero, short of the highest value.
        calls: How often the copy has been asked since `draw_from`.
    """

    model: Callable[[Tensor], Tensor]
    image: Tensor
    label: Tensor
    ids: Tensor
    surrogate_defense: SurrogateDefense | None = None
    highest: float = math.inf
    flat: list[Tensor] = field(default_factory=list, init=False)
    calls: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.draw_from(Randomness(0, self.ids))

    @cached_property
    def _highest_label(self) -> int:
        return int(self.label.max())

    def logits(self, image: Tensor) -> Tensor:
        """Return the attacked network's logits, ``(N, C)``.

        Raises:
            UserError: If the network does not know a label.
        """
        logits = self.model(image)
        if self._highest_label >= logits.shape[1]:  # on a GPU a loss of it would take the process down
            raise UserError(f"label {self._highest_label} is outside the {logits.shape[1]} classes of the model")
        return logits

    def cross_entropy(self, image: Tensor) -> Tensor:
        """Return the attacked network's loss of each image, ``(N,)``."""
        return F.cross_entropy(self.logits(image), self.label, reduction="none")

    @property
    def described(self) -> str:
        """What is attacked, in words."""
        network = f"network {getattr(self.model, 'name', type(self.model).__name__)}"
        return (
            network
            if self.surrogate_defense is None
            else f"{network}, or defense {self.surrogate_defense.defense.variants[0].defense} of it,"
        )

    @property
    def defense(self) -> SurrogateDefense:
        """The copy of the defense.

        Raises:
            UserError: If the threat has none.
        """
        if self.surrogate_defense is None:
            raise UserError("this attack looks at the defense, which its threat does not know: run it as a WhiteBox")
        return self.surrogate_defense

    def draw_from(self, randomness: Randomness) -> None:
        """Let a copy that answers at random draw from these streams from now on, from others at each call."""
        self._randomness, self.calls = randomness, 0

    def scores(self, image: Tensor) -> Tensor:
        """Return the copy's scores ``(N, C)``: of a random one, by other numbers at each call, and than the defense's own."""
        self.calls += 1
        return self.defense.scores(image, self._randomness.of("call", self.calls))

    def take_flat(self) -> list[Tensor]:
        """Return `flat` since this was last called."""
        taken, self.flat[:] = self.flat[:], []
        return taken

    def require_finite(self, values: Tensor, what: str) -> None:
        """Raise a UserError that names the images whose ``values (N, ...)`` hold NaN or infinity."""
        finite = values.isfinite().flatten(1).all(dim=1) if values.ndim > 1 else values.isfinite()
        if not finite.all():
            raise UserError(f"{what} is not finite for the images with id {name_ids(self.ids, ~finite)}")


def name_ids(ids: Tensor, where: Tensor) -> str:
    """Return the first ids for an error message."""
    named = ids[where.to(ids.device)].tolist()
    return ", ".join(map(str, named[:5])) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
