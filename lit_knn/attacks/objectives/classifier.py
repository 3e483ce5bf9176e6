"""Objectives on the attacked network's logits alone."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Objective, Score
from lit_knn.threat_models.attack_target import AttackTarget


class CrossEntropy(Objective):
    """Raise the network's cross-entropy of the true class.

    Cost:
        One forward and backward pass for each gradient.

    References:
        Dubey et al. 2019, Section 3.1.
    """

    answers = True

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Return the loss of each image."""
        del target
        return attacked.cross_entropy


class Margin(Objective):
    """Raise the network's best wrong logit over the true one; above 0 exactly where the network is wrong.

    Cost:
        One forward and backward pass for each gradient.

    References:
        Carlini and Wagner 2017, Section V.A, f_6.
    """

    suffix = "margin"
    signed = True
    answers = True

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Return the margin of each image."""
        del target
        return lambda image: margin(attacked.logits(image), attacked.label)


class ProbabilityMargin(Objective):
    """Raise the network's highest probability of a wrong class over that of the true one; above 0 where it is wrong.

    Cost:
        One forward and backward pass for each gradient.

    References:
        Xie et al. 2024, "Towards million-scale adversarial robustness evaluation with stronger individual attacks",
        arXiv:2411.15210, the loss of their probability margin attack (PMA).
    """

    suffix = "PM"
    signed = True
    answers = True
    highest = 1.0

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Return the margin of each image."""
        del target

        def score(image: Tensor) -> Tensor:
            probability = attacked.logits(image).softmax(dim=1)  # (N, C)
            wrong = probability.scatter(1, attacked.label[:, None], 0)
            # 1 + p_t − p_y: where p_y is 1 but for rounding, its own gradient would be rounding as well
            raised = wrong.sum(dim=1) + wrong.amax(dim=1)
            return margin(probability, attacked.label).detach() + (raised - raised.detach())

        return score


def margin(scores: Tensor, label: Tensor) -> Tensor:
    """Return the largest score of a wrong class less that of the true one, ``(N,)``; above 0 for a wrong answer.

    Args:
        scores: ``(N, C)`` float, C ≥ 2.
        label: ``(N,)`` int64.
    """
    true = scores.gather(1, label[:, None])  # (N, 1)
    return without_true(scores, label).amax(dim=1) - true[:, 0]


def without_true(scores: Tensor, label: Tensor) -> Tensor:
    """Return scores ``(N, C)`` with −∞ for the true classes ``(N,)``: the largest is that of a wrong one."""
    return scores.scatter(1, label[:, None], -torch.inf)
