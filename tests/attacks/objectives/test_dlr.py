"""The targeted ratio against its formula in numpy, and its targets by hand."""

import numpy as np
import pytest
import torch

from lit_knn.attacks import APGD
from lit_knn.attacks.objectives import TargetedDLR, margin
from lit_knn.attacks.objectives.dlr import targeted_ratio
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget


def attack_target(logits, label):
    """A batch whose network has these clean logits; each pixel of the first channel and row adds to one class."""

    def model(image):
        return logits + image[:, 0, 0, : logits.shape[1]] - 0.5

    image = torch.full((len(logits), 3, 1, logits.shape[1]), 0.5, dtype=logits.dtype)
    return AttackTarget(model, image, torch.tensor(label), torch.arange(len(logits)))


def test_against_numpy():
    random = np.random.default_rng(0)
    logits, label, target = random.normal(size=(50, 7)), random.integers(7, size=50), random.integers(7, size=50)
    ordered = -np.sort(-logits)
    rows = np.arange(50)
    expected = -(logits[rows, label] - logits[rows, target]) / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2)
    found = targeted_ratio(*(torch.from_numpy(part) for part in (logits, label, target)))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_confidence_does_not_change_it():
    logits, label, target = torch.randn(20, 5, dtype=torch.float64), torch.zeros(20).long(), torch.ones(20).long()
    torch.testing.assert_close(
        targeted_ratio(1000 * logits - 7, label, target), targeted_ratio(logits, label, target), rtol=1e-9, atol=0
    )


def test_targets_are_the_highest_wrong_classes_of_the_clean_logits():
    logits = torch.tensor([[5.0, 1, 4, 2, 3], [0, 9, 1, 8, 2]])
    batch = attack_target(logits, [0, 3])  # the second is wrong already
    aims = [[2, 4, 3, 1], [1, 4, 2, 0]]
    changed = batch.image.clone()
    changed[0, 0, 0, 3] = 20.5  # the targets of a changed image are those of the clean one
    for target in range(4):
        score = TargetedDLR().bind(batch, target)
        for image in (batch.image, changed):
            aim = torch.tensor([row[target] for row in aims])
            torch.testing.assert_close(score(image), targeted_ratio(batch.logits(image), batch.label, aim))


def test_surplus_targets_begin_again_with_the_first():
    batch = attack_target(torch.randn(6, 5), [0, 1, 2, 3, 4, 0])
    objective = TargetedDLR(targets=6)
    values = [objective.bind(batch, target)(batch.image) for target in range(6)]
    assert torch.equal(values[4], values[0])
    assert torch.equal(values[5], values[1])
    assert not torch.equal(values[3], values[0])


def test_the_choice_is_the_networks_margin():
    batch = attack_target(torch.randn(6, 5), [0, 1, 2, 3, 4, 0])
    assert torch.equal(TargetedDLR().choice(batch)(batch.image), margin(batch.logits(batch.image), batch.label))


def test_every_target_is_tried_and_the_worst_is_kept():
    """Two ways to be wrong: only the less promising one of the clean image leads there within the budget."""
    slope = torch.tensor([0.0, 0.1, 10.0, 0.0])  # of each class, along its own pixel

    def model(image):
        return torch.tensor([1.0, 0.9, 0.5, -1.0]) + slope * (image[:, 0, 0] - 0.5)

    image, label, id = torch.full((2, 3, 1, 4), 0.5), torch.zeros(2).long(), torch.arange(2)
    near, all_of_them = (
        next(APGD(steps=20, objective=TargetedDLR(targets=targets))(model, image, label, id, [0.07]))
        for targets in (1, 3)
    )
    assert (model(near).argmax(1) == 0).all()
    assert (model(all_of_them).argmax(1) == 2).all()
    assert APGD(objective=TargetedDLR()).name == "APGD-DLR-T"


def test_three_classes_have_the_units_of_the_ratio_without_target_and_two_the_gap_itself():
    random = np.random.default_rng(0)
    for classes in (3, 2):
        logits, label = random.normal(size=(50, classes)), random.integers(classes, size=50)
        target = (label + 1) % classes
        gap = logits[np.arange(50), target] - logits[np.arange(50), label]
        expected = gap / np.ptp(logits, axis=1) if classes == 3 else gap  # of three, the third is the smallest
        found = targeted_ratio(*(torch.from_numpy(part) for part in (logits, label, target)))
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        batch = attack_target(torch.from_numpy(logits).float(), label.tolist())
        aims = [TargetedDLR().bind(batch, number)(batch.image) for number in range(classes)]
        assert torch.equal(aims[-1], aims[0])  # one less than classes are wrong


def test_no_targets_are_refused():
    with pytest.raises(UserError, match="targets: 0; 1 or more"):
        TargetedDLR(targets=0)
