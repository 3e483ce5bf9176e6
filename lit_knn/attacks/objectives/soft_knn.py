"""The margin of a kNN vote whose members come and go by degrees."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.attacks.objectives.base import Score
from lit_knn.attacks.objectives.classifier import margin, without_true
from lit_knn.attacks.objectives.defense import StandIn
from lit_knn.defenses.neighbors.fused_knn import first_of_each
from lit_knn.defenses.neighbors.nearness import Nearness
from lit_knn.defenses.rejecting import AcceptedAnswer
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.class_exemplars import Found

TINY = 1e-12  # squared distances of which a square root has a gradient
WRONG_CLASSES = 3  # whose exemplars join the pool


class SoftKNN(StandIn):
    """Raise the defense's own vote, best wrong score over true one, with K neighbors that are members to a degree.

    A search has no gradient, as a row either is among the K neighbors or is not. Here each row of a pool at distance d
    is a member to the degree ``a = σ((η − d²) / T)``, where η lies between the squared distances of the K-th and the
    next neighbor, and the vote is the defense's own with weights ``a·w``; as T falls to 0 it becomes the defense. The
    pool is looked up again at each step. It holds the nearest rows and, as these may all be of the true class,
    exemplars: the nearest rows of the three nearest wrong classes. ``T = c · max(d²_K − d²_1, d²_e − η)``, with d_e
    that of the nearest exemplar, is as wide as the neighborhood, or wide enough for the nearest exemplar to count. η
    and T have no gradient. Weights that go by the distance have theirs, see `Weighting.lent`.

    The value is the logarithm of the ratio of the two scores. With the hard combination, too, the membership has a
    gradient; the vote of a row is constant.

    Of a defense at several taps there is a vote at each, or of a union one of the pools of all, in which a row is a
    member to the degree ``1 − Π (1 − a)``. Exemplars are those nearest in the features side by side.

    Of a defense that rejects, the value is no more than how far the answer is from being rejected: the best wrong score
    above its threshold, as a share of it, or ``(d_max² − d²) / T``, with d the mean distance to the K nearest and d_max
    the largest that is accepted, and of several taps the means of d and T. T is the unit of the soft vote: as a share
    of d_max, which is below 1, what is left would cap a soft margin before the real answer is wrong.
    PGD of 30 steps on digits left .32 and .08 so, and .24 and .01 in units of T (early tap, Δ = .15 and .2, rejected
    counted as right).

    Cost:
        One forward and backward pass up to the tap, one search for ``pool`` rows and the distances to the class
        exemplars for each gradient; features of ``pool`` + 3 ``exemplars`` rows for each image in memory.

    Args:
        pool: Number of nearest rows in the pool; 4 K if that is more, all rows if there are fewer.
        exemplars: Number of rows of each of the three wrong classes; by default K.
        temperature: Factor c of the temperature T, above 0.

    References:
        Carlini and Wagner 2017, Section V.A (the margin); Sitawarin and Wagner 2020, arXiv:2003.06559 (exemplars).
    """

    suffix = "soft-kNN"
    answers = True

    def __init__(self, *, pool: int = 200, exemplars: int | None = None, temperature: float = 0.25) -> None:
        if pool < 1 or (exemplars is not None and exemplars < 1) or temperature <= 0:
            raise UserError(
                f"SoftKNN has pool: {pool}, exemplars: {exemplars}, temperature: {temperature}; "
                "from 1, from 1 and above 0 are accepted"
            )
        self.pool, self.exemplars, self.temperature = pool, exemplars, temperature

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Return the margin of each image; everything depends on the changed ones."""
        del target
        copy = attacked.defense.defense
        if not isinstance(copy, AcceptedAnswer):
            return lambda image: margin(self._scores(attacked, image).log(), attacked.label)

        def accepted(image: Tensor) -> Tensor:
            remote = list[tuple[Tensor, Tensor]]()
            scores = self._scores(attacked, image, remote)
            if copy.rejecting.confidence == "distance":
                distance, width = (torch.stack(part).mean(dim=0) for part in zip(*remote, strict=True))
                within = (copy.limit**2 - distance**2) / width
            else:
                wrong = without_true(scores, attacked.label).amax(dim=1)  # which is to be accepted, not the true one
                within = wrong / copy.limit - 1
            return torch.minimum(margin(scores.log(), attacked.label), within)

        return accepted

    def _scores(
        self, attacked: AttackTarget, image: Tensor, remote: list[tuple[Tensor, Tensor]] | None = None
    ) -> Tensor:
        """Return the soft vote ``(N, C)``, above 0; append the mean distance of the K nearest and T of each tap."""
        copy, k = attacked.defense, attacked.defense.k
        searched = attacked.searched(image)  # (N, D) at each of T taps
        most = min(max(4 * k, self.pool), len(copy.gallery))
        found = {tap: copy.gallery.search(tap, features, most) for tap, features in searched.items()}
        query = copy.query(image.detach())
        query.know(found, {tap: features.detach() for tap, features in searched.items()})
        attacked.answer = partial(copy.answers, query)
        each, together = self.exemplars or k, copy.together(searched)
        around = copy.exemplars.around(together)
        exemplars = around.nearest(around.wrong(attacked.label, WRONG_CLASSES, each), each)  # (N, G, m)

        votes, outside = [], []
        united = torch.stack([neighbors.ids for neighbors in found.values()], dim=1)  # (N, T, L)
        for number, (tap, features) in enumerate(searched.items()):
            near = united if copy.is_union else united[:, [number]]  # (N, T or 1, L)
            pool, counts = _pool(near, exemplars)  # (N, J)
            if len(searched) == 1:  # whose exemplars are at hand
                vectors = torch.cat([copy.vectors(near[:, 0], features), exemplars.vectors.flatten(1, 2)], dim=1)
            else:
                vectors = copy.vectors(pool, features, tap)
            nearness = Nearness(partial(_same, features), partial(_same, vectors))
            squared = nearness.squared  # (N, J)
            first = number * most if copy.is_union else 0
            own, guides = squared[:, first : first + most], squared[:, near[0].numel() :]
            with torch.no_grad():
                border, width = self._border(own, guides, k, exemplars.present.flatten(1))
            inside = (border - squared) / width
            if remote is not None:
                distance = own.topk(k, dim=1, largest=False).values.clamp_min(TINY).sqrt().mean(dim=1)
                factor = copy.gallery.factor(tap) if len(searched) > 1 else 1
                remote.append((distance * factor, width[:, 0] * factor**2))
            if copy.is_union:
                outside.append(F.logsigmoid(-inside))
            else:
                votes.append(copy.vote(pool, inside.sigmoid() * counts, nearness))
        if copy.is_union:
            membership = -torch.expm1(torch.stack(outside).sum(dim=0))  # 1 − Π (1 − a)
            nearness = Nearness(lambda: together, lambda: copy.vectors(pool, together))
            votes = [copy.vote(pool, membership * counts, nearness)]
        scores = torch.stack(votes).mean(dim=0)
        return scores.clamp_min(torch.finfo(scores.dtype).tiny)

    def _border(self, near: Tensor, exemplars: Tensor, k: int, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return η and T, both ``(N, 1)``, of squared distances ``(N, L)`` and ``(N, G·m)``."""
        ordered = near.sort(dim=1).values
        border = (ordered[:, k - 1 : k] + ordered[:, min(k, near.shape[1] - 1), None]) / 2
        exemplar = exemplars.masked_fill(~present, torch.inf).amin(dim=1, keepdim=True)
        width = torch.maximum(ordered[:, k - 1 : k] - ordered[:, :1], exemplar - border)
        number = torch.finfo(near.dtype)
        least = (number.eps * ordered[:, -1:]).clamp_min(number.tiny**0.5)  # where all are at one distance, or at none
        return border, self.temperature * torch.maximum(width, least)


def _pool(near: Tensor, exemplars: Found) -> tuple[Tensor, Tensor]:
    """Return rows ``(N, J)`` that are near, ``(N, T, L)``, or exemplars, and whether each counts, bool: once."""
    ids = exemplars.ids.flatten(1)  # (N, G·m)
    new = first_of_each(near, torch.ones_like(near[0, 0], dtype=torch.bool))  # (N, T·L)
    near = near.flatten(1)
    twice = (ids[:, :, None] == near[:, None]).any(dim=2)  # (N, G·m)
    counts = torch.cat([new, exemplars.present.flatten(1) & ~twice], dim=1)
    return torch.cat([near, ids], dim=1), counts


def _same(tensor: Tensor) -> Tensor:
    return tensor
