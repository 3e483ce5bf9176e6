"""The order of targets by brute force over the whole Jacobian, and what it is for."""

from dataclasses import replace

import pytest
import torch

from lit_knn.attacks import APGD
from lit_knn.attacks.objectives import MALT, TargetedDLR
from lit_knn.attacks.objectives.dlr import targeted_ratio
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.budget import BUDGETS


def by_jacobian(model, image, label, candidates, order=2):
    """Return the candidates of one image by distance to their boundary."""
    logits = model(image[None])[0]
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], image).flatten(1)  # (C, D)
    wrong = sorted((c for c in range(len(logits)) if c != label), key=lambda c: -logits[c])[:candidates]
    return sorted(wrong, key=lambda c: (logits[label] - logits[c]) / (jacobian[label] - jacobian[c]).norm(order))


@pytest.mark.parametrize("candidates", [100, 4])
def test_targets_are_the_nearest_of_the_likely_classes(candidates, attack_target):
    objective = MALT(candidates=candidates)
    expected = torch.tensor(
        [
            by_jacobian(attack_target.model, image, int(label), candidates)
            for image, label in zip(attack_target.image, attack_target.label, strict=True)
        ]
    )
    assert torch.equal(objective.ranked(attack_target), expected)
    assert not torch.equal(expected, TargetedDLR().ranked(attack_target)[:, :candidates])
    for target in (0, 3):
        score, aim = objective.bind(attack_target, target), expected[:, target]
        ratio = targeted_ratio(attack_target.model(attack_target.image), attack_target.label, aim)
        torch.testing.assert_close(score(attack_target.image), ratio)


def test_distances_are_those_of_the_budgets_norm(attack_target):
    linf = replace(attack_target, budget=BUDGETS["linf"])
    each = list(zip(linf.image, linf.label.tolist(), strict=True))
    by_l1, by_l2 = (torch.tensor([by_jacobian(linf.model, *one, 100, order) for one in each]) for order in (1, 2))
    assert torch.equal(MALT().ranked(linf), by_l1)
    assert not torch.equal(by_l1, by_l2)


def steep(image):
    """Class 1 looks likely and is flat, class 2 does not and is near; class 3 never changes."""
    slope = torch.tensor([0.0, 0.1, 10.0, 0.0])
    return torch.tensor([1.0, 0.9, 0.5, -1.0]) + slope * (image[:, 0, 0] - 0.5)


def test_one_target_by_distance_does_what_one_by_the_logit_does_not():
    image, label, id = torch.full((2, 3, 1, 4), 0.5), torch.zeros(2).long(), torch.arange(2)
    for objective, answer in ((TargetedDLR(targets=1), 0), (MALT(targets=1), 2)):
        (found,) = APGD(steps=20, objective=objective)(steep, image, label, id, [0.07])
        assert (steep(found).argmax(1) == answer).all()
    batch = AttackTarget(steep, image, label, id)
    assert MALT().ranked(batch).tolist() == [[2, 1, 3]] * 2
    assert APGD(objective=MALT()).name == "APGD-MALT"


def test_classes_are_ranked_once_whatever_the_number_of_targets():
    calls = []

    def model(image):
        calls.append(image)
        return steep(image)

    image, label = torch.full((2, 3, 1, 4), 0.5), torch.zeros(2).long()
    for objective in (TargetedDLR(targets=3), MALT(targets=3)):
        calls.clear()
        list(APGD(steps=4, objective=objective)(model, image, label, torch.arange(2), [0.07]))
        assert len(calls) == 1 + 3 * (5 + 1)


def test_without_a_gradient_the_attack_says_so():
    image, label = torch.full((2, 3, 1, 4), 0.5), torch.zeros(2).long()
    with pytest.raises(UserError, match="no gradient"):
        list(APGD(objective=MALT())(lambda image: steep(image).detach(), image, label, torch.arange(2), [0.07]))


def test_settings():
    with pytest.raises(UserError, match="candidates: 0; 1 or more"):
        MALT(candidates=0)
    with pytest.raises(UserError, match="MALT has targets: 0"):
        MALT(targets=0)
