"""How much an attacker may change an image: the only place where a size has a unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.report.results.budgets import UNITS, NormName, Unit, size_text
from lit_knn.threat_models.norms import L2, LINF, Norm


@dataclass(frozen=True)
class Budget:
    """A hard cap for each image in [0, 1], in one of the units that results are given in.

    - ``relative_l2``: Δ = ‖x* − x‖₂ / ‖x‖₂, which allows images of any size and brightness the same change.
    - ``l2``: ‖x* − x‖₂, in pixels' units: RobustBench's L2, .5 on CIFAR-10 and 3 on ImageNet.
    - ``linf``: the largest change of any pixel: RobustBench's Linf, 8/255 on CIFAR-10 and 4/255 on ImageNet.

    Attributes:
        name: Of the unit.
        norm: In which the ball of an image is one.

    References:
        Dubey et al. 2019, Section 3.1 (normalized L2 distance). Guo et al. 2018 measure it on mean/std-normalized
        pixels and on average over the images instead, about a factor of two away. Croce et al. 2021, RobustBench.
    """

    name: NormName
    norm: Norm

    @property
    def unit(self) -> Unit:
        """How sizes are written."""
        return UNITS[self.name]

    @property
    def relative(self) -> bool:
        """Whether a size is a share of the image's own L2 norm, so that black images have none."""
        return self.name == "relative_l2"

    def verify(self, sizes: Sequence[float]) -> None:
        """Raise a UserError if an image cannot be changed by one of the sizes, or two of them are written alike."""
        if wrong := [size_text(self.name, size) for size in sizes if not self.unit.accepts(size)]:
            raise UserError(f"{self.unit.symbol} of {', '.join(wrong)} is outside {self.unit.accepted}")
        written = Counter(size_text(self.name, size) for size in set(sizes))
        if alike := [text for text, count in written.items() if count > 1]:
            raise UserError(f"several sizes are {self.unit.symbol} = {alike[0]} to six digits: keep one of them")

    def radius(self, image: Tensor, size: float) -> Tensor:
        """Return the radius ``(N,)`` of the ball of each image ``(N, 3, H, W)``, in pixels' units."""
        return size * L2.length(image) if self.relative else torch.full_like(image[:, 0, 0, 0], size)

    def realized(self, image: Tensor, adversarial: Tensor) -> Tensor:
        """Return the size ``(N,)`` of what was done to each image ``(N, 3, H, W)``."""
        length = self.norm.length(adversarial - image)
        return length / L2.length(image) if self.relative else length


RELATIVE_L2 = Budget("relative_l2", L2)
BUDGETS = {budget.name: budget for budget in (RELATIVE_L2, Budget("l2", L2), Budget("linf", LINF))}


def budget_in(norm: str) -> Budget:
    """Return the budget whose sizes are in the unit of this name.

    Raises:
        UserError: If there is none.
    """
    found = next((budget for name, budget in BUDGETS.items() if name == norm), None)
    if found is None:
        raise UserError(f"norm: {norm!r} is unknown; {', '.join(BUDGETS)} are accepted")
    return found
