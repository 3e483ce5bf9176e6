"""The Square attack: random search with localized changes, for what has no gradient."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.objectives import DefenseMargin, Objective, Score
from lit_knn.attacks.perturbation import column
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries of 10,000 after which p is halved


class Square(Attack):
    """Move the perturbation of a random window to another window, and keep what does not lower the objective.

    Only values of the objective are asked for, so it may be the whole defense, search included. Each image is attacked
    on its own, and also after its answer is wrong: a larger margin is more likely to hold against a database other than
    the attacker's. With ``enough``, an image stops there and costs nothing more.

    Cost:
        ``queries + 1`` forward passes (of the whole defense, with its search, for `DefenseMargin`) for each Δ and run;
        with ``enough`` as many as an image needs.

    Args:
        queries: Number of candidates evaluated after the first one.
        p_init: Share of the image that the first windows cover, in (0, 1]; it falls in steps over the queries.
        objective: What the attack maximizes; by default the defense's margin.
        enough: Value of the objective above which an image is left as it is, such as 0 for a margin, where the answer
            becomes wrong; by default no value is.
        restarts: Number of searches, at least 1; each image keeps its best.
        seed: Seed of the windows, which also depend on the image's id and the number of the run.
        name: Name in tables and figures; by default the class name and the objective's suffix, as in ``PGD-FS``.

    References:
        Andriushchenko et al. 2020, Algorithms 1 and 3, Section 3.4; Section 4 for the schedule of p.

    Differences from the paper:
        Windows are drawn for each image, not for the batch; they may touch the lower and right edge as well, and are
        never larger than the image. The first perturbation tiles the image to its last whole tile. Equal values are
        accepted, because the margin of a vote is constant almost everywhere and a search would never leave its start.
    """

    gradient_free = True

    def __init__(
        self,
        *,
        queries: int = 5000,
        p_init: float = 0.8,
        objective: Objective | None = None,
        enough: float | None = None,
        restarts: int = 1,
        seed: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(objective=objective or DefenseMargin(), restarts=restarts, seed=seed, name=name)
        if queries < 1 or not 0 < p_init <= 1:
            raise UserError(
                f"{self.name} has queries: {queries}, p_init: {p_init}; "
                "queries from 1 and p_init in (0, 1] are accepted"
            )
        if enough is not None and self.objective.targets > 1:
            raise UserError(f"{self.name} stops at enough: {enough}, which takes an objective without targets")
        self.queries, self.p_init, self.enough = queries, p_init, enough

    @property
    def run_passes(self) -> int:
        """One for each candidate."""
        return self.queries + 1

    def prepare(self, attacked: AttackTarget, objective: Score, randomness: Randomness) -> Perturb:
        """Draw the tiles and all windows, and return the search."""
        image = attacked.image
        channels, height, width = image.shape[1:]
        start = _unit(tiles(randomness, image), (1, 2, 3))
        windows = randomness.uniform(image, self.queries, 5 + channels)  # (N, queries, 5 + 3)

        @torch.no_grad()
        def perturb(radius: Tensor) -> Tensor:
            target, score, draws, radius = attacked, objective, windows, column(radius)
            best = (image + radius * start).clamp(0, 1)
            highest = self._value(target, score, best)
            target.require_finite()  # before all queries are spent
            found, rows = best, torch.arange(len(image), device=image.device)
            for number in range(self.queries):
                if self.enough is not None:
                    climbing = highest <= self.enough
                    if not climbing.all():  # nothing is asked for those that have enough
                        target.require_finite()
                        found = found.index_copy(0, rows, best)
                        rows, best, highest, radius, draws = (
                            part[climbing] for part in (rows, best, highest, radius, draws)
                        )
                        target = target.among(climbing)
                        score = self.objective.bind(target)
                    if not len(rows):
                        break
                side = window_side(height, width, self.p_init * share(number / self.queries))
                change = propose(best - target.image, radius, side, draws[:, number])
                candidate = (target.image + radius * _unit(change, (1, 2, 3))).clamp(0, 1)
                reached = self._value(target, score, candidate)
                better = reached >= highest
                best = torch.where(column(better), candidate, best)
                highest = torch.where(better, reached, highest)
            target.require_finite()
            return found.index_copy(0, rows, best)

        return perturb

    def _value(self, target: AttackTarget, score: Score, candidate: Tensor) -> Tensor:
        reached = score(candidate)
        target.note_finite(reached, f"the objective of {self.name}")
        return reached


def share(progress: float) -> float:
    """Return p / p_init after a share of the queries in [0, 1)."""
    return 0.5 ** sum(int(progress * 10_000) > halving for halving in HALVINGS)


def window_side(height: int, width: int, p: float) -> int:
    """Return the odd side of a square that covers a share p of the image; 3 at least, and no larger than the image."""
    side = max(round(math.sqrt(p * height * width)), 3) | 1
    return min(side, (min(height, width) - 1) | 1)


def propose(delta: Tensor, radius: Tensor, side: int, draw: Tensor) -> Tensor:
    """Return a perturbation with the change of two windows, and what is left of the budget, gathered in the first.

    Args:
        delta: ``(N, C, H, W)``, the perturbation so far, within the budget.
        radius: ``(N, 1, 1, 1)``.
        side: Of the windows.
        draw: ``(N, 5 + C)`` in [0, 1): corners of both windows, orientation and signs.

    Returns:
        ``(N, C, H, W)``, to be scaled to the radius.
    """
    first, second = (_window(delta, corner, side) for corner in (draw[:, :2], draw[:, 2:4]))
    rest = delta.clone()
    rest[first] = rest[second] = 0
    freed = ((delta - rest) ** 2).sum(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    unused = (radius**2 - (delta**2).sum(dim=(1, 2, 3), keepdim=True)).clamp_min(0) / delta.shape[1]
    shape = bump(side, draw[:, 4:]) + _unit(delta[first], (2, 3))
    rest[first] = _unit(shape, (2, 3)) * (freed + unused).sqrt()
    return rest


def tiles(randomness: Randomness, image: Tensor) -> Tensor:
    """Return the first perturbation, ``(N, C, H, W)``: about 5 × 5 bumps, each turned and signed at random."""
    channels, height, width = image.shape[1:]
    side = max(min(height, width) // 5, 1)
    rows, columns = height // side, width // side
    bumps = bump(side, randomness.uniform(image, rows, columns, 1 + channels))  # (N, rows, columns, C, s, s)
    grid = bumps.permute(0, 3, 1, 4, 2, 5).reshape(len(image), channels, rows * side, columns * side)
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    return F.pad(grid, (left, width - columns * side - left, top, height - rows * side - top))


def bump(side: int, draw: Tensor) -> Tensor:
    """Return two opposite pyramids side by side, of norm 1: ``(..., C, side, side)``.

    Args:
        side: In pixels.
        draw: ``(..., 1 + C)`` in [0, 1): which way they lie, and the sign of each channel.
    """
    upright = _upright(side, draw.dtype, draw.device)
    turned = torch.where(draw[..., :1, None, None] < 0.5, upright, upright.T)  # (..., 1, s, s)
    return turned * torch.where(draw[..., 1:, None, None] < 0.5, 1, -1)


@cache
def _upright(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    halves = [_pyramid(side // 2, side), -_pyramid(side - side // 2, side)]
    return _unit(torch.cat(halves), (0, 1)).to(device, dtype)  # (s, s)


def _pyramid(height: int, width: int) -> Tensor:
    """Return the paper's η of norm 1, ``(height, width)``: growing squares, 1/k² of each, about a middle pixel."""
    rows, columns = ((torch.arange(size) - size // 2).abs() for size in (height, width))
    levels = max(height, width) // 2 + 1
    nearest = torch.maximum(rows[:, None], columns)  # (height, width): the first square that holds the pixel
    inverse = 1 / torch.arange(1, levels + 1, dtype=torch.float64) ** 2
    return _unit(inverse.flip(0).cumsum(0).flip(0)[nearest], (0, 1))


def _window(delta: Tensor, corner: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the index of a square in each image, at corners ``(N, 2)`` given in [0, 1)."""
    images, channels, height, width = (torch.arange(size, device=delta.device) for size in delta.shape)
    top, left = (
        (corner[:, axis] * (len(extent) - side + 1)).long()[:, None] + torch.arange(side, device=delta.device)
        for axis, extent in enumerate((height, width))
    )  # (N, s)
    return images[:, None, None, None], channels[:, None, None], top[:, None, :, None], left[:, None, None, :]


def _unit(change: Tensor, axes: tuple[int, ...]) -> Tensor:
    length = torch.linalg.vector_norm(change, dim=axes, keepdim=True)
    unit: Tensor = change / length.clamp_min(torch.finfo(change.dtype).tiny)
    return unit
