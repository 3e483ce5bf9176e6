"""The Square attack: random search with localized changes, for what has no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.objectives import Bound, DefenseMargin, Objective
from lit_knn.attacks.remaining import Remaining
from lit_knn.attacks.square_moves import L2Moves, LInfMoves, Moves
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.norms import L2, LINF, Norm, column

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries of 10,000 after which p is halved
MOVES: dict[Norm, Moves] = {L2: L2Moves(), LINF: LInfMoves()}


class Square(Attack):
    """Change the perturbation of a random window, and keep what does not lower the objective.

    Only values of the objective are asked for, so it may be the whole defense, search included. Each image is attacked
    on its own, and also after its answer is wrong: a larger margin is more likely to hold against a database other than
    the attacker's. With ``enough``, an image stops there and costs nothing more. Of a copy that answers at random the
    mean over ten draws is climbed, the same ten for all candidates: of candidates that each meet other draws the
    luckiest would win. On digits behind random crops, 2,000 answers leave .32 so, and .52 one by one.

    Cost:
        ``queries + 1`` forward passes (of the whole defense, with its search, for `DefenseMargin`) for each Δ and run,
        ten times as many of a copy that draws; with ``enough`` as many as an image needs.

    Args:
        queries: Number of candidates evaluated after the first one.
        p_init: Share of the image that the first windows cover, in (0, 1]; it falls in steps over the queries.
        objective: What the attack maximizes; by default the defense's margin.
        enough: By how much the best wrong score has to be above the true one for an image to be left as it is: 0 where
            the answer becomes wrong, that of all variants of a white box's tap; by default none is left, nor ever one
            that is made for another network or database, or that is answered at random.
        restarts: Number of searches, at least 1; each image keeps its best.
        seed: Seed of the windows, which also depend on the image's id and the number of the run.
        name: Name in tables and figures; by default the class name and the objective's suffix, as in ``PGD-FS``.

    References:
        Andriushchenko et al. 2020, Algorithms 1 to 3, Sections 3.3 and 3.4; Section 4 for the schedule of p.

    Differences from the paper:
        Windows are drawn for each image, not for the batch; they may touch the lower and right edge as well, and are
        never larger than the image. In L2 the first perturbation tiles the image to its last whole tile. Equal values
        are accepted, because the margin of a vote is constant almost everywhere and a search would never leave its
        start.
    """

    gradient_free = True
    norms = (L2, LINF)

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
        objective = objective or DefenseMargin()
        super().__init__(objective=objective, restarts=restarts, enough=enough, seed=seed, name=name)
        if queries < 1 or not 0 < p_init <= 1:
            raise UserError(
                f"{self.name} has queries: {queries}, p_init: {p_init}; "
                "queries from 1 and p_init in (0, 1] are accepted"
            )
        self.queries, self.p_init = queries, p_init

    @property
    def run_passes(self) -> int:
        """One for each candidate."""
        return self.queries + 1

    def prepare(self, attacked: AttackTarget, objective: Bound, randomness: Randomness) -> Perturb:
        """Draw the tiles and all windows, and return the search."""
        image, moves = attacked.image, MOVES[attacked.norm]
        start = moves.start(randomness, image)
        windows = randomness.uniform(image, self.queries, moves.numbers + image.shape[1])  # (N, queries, n + 3)

        @torch.no_grad()
        def perturb(radius: Tensor) -> Tensor:
            left = Remaining(attacked, objective, self.enough)
            draws, radius = left.of(windows), column(left.of(radius))
            best = (left.image + radius * left.of(start)).clamp(0, 1)
            calls = left.attacked.calls
            highest = self._value(left, best)
            left.attacked.require_finite()  # before all queries are spent
            for number in range(self.queries):
                best, highest, radius, draws = left.narrow(best, best, highest, radius, draws)
                if not left:
                    break
                p = self.p_init * share(number / self.queries)
                left.attacked.calls = calls  # so that it meets the same draws
                candidate = moves.candidate(best, left.image, radius, p, draws[:, number]).clamp(0, 1)
                reached = self._value(left, candidate)
                better = (reached >= highest) | left.broken()
                best = torch.where(column(better), candidate, best)
                highest = torch.where(better, reached, highest)
            left.attacked.require_finite()
            return left.whole(best)

        return perturb

    def _value(self, left: Remaining, candidate: Tensor) -> Tensor:
        reached = left.objective(candidate)
        left.attacked.note_finite(reached, f"the objective of {self.name}")
        return reached


def share(progress: float) -> float:
    """Return p / p_init after a share of the queries in [0, 1)."""
    return 0.5 ** sum(int(progress * 10_000) > halving for halving in HALVINGS)
