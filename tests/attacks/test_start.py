"""Where the runs of gradient attacks start: at the image, and at random where there is nothing to follow."""

import pytest
import torch

from lit_knn.attacks import APGD, FGSM, IFGSM, PGD
from lit_knn.attacks.objectives import EOT, CrossEntropy, FeatureSpace, Objective
from lit_knn.threat_models.budget import RELATIVE_L2
from lit_knn.threat_models.norms import L2

ATTACKS = [FGSM, IFGSM, PGD, APGD]


class Recording(Objective):
    """The cross-entropy; it remembers where it was asked."""

    def bind(self, attack_target, target=0):
        self.points = []

        def score(image):
            self.points.append(image.detach())
            return attack_target.cross_entropy(image)

        return score


class Away(Objective):
    """The distance to the image itself, which has no gradient there; of even ids only, of the others the loss."""

    def bind(self, attack_target, target=0):
        even = attack_target.ids % 2 == 0

        def score(image):
            away = (image - attack_target.image).flatten(1).square().sum(dim=1)
            return torch.where(even, away, attack_target.cross_entropy(image))

        return score


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_first_run_starts_at_the_image_unless_told_otherwise(attack, network, digits):
    for random_start in (False, True):
        objective = Recording()
        next(attack(objective=objective, random_start=random_start)(network, *digits, [0.1]))
        moved = RELATIVE_L2.realized(digits[0], objective.points[0])
        assert (moved > 0).all() if random_start else (moved == 0).all()
        assert (moved <= 0.1 * (1 + 1e-5)).all()


@pytest.mark.parametrize("attack", [PGD, APGD])
def test_further_restarts_start_at_random_for_every_target(attack, network, digits):
    class Targets(Recording):
        targets = 2

        def bind(self, attack_target, target=0):
            score = super().bind(attack_target, target)
            climbed.setdefault(target, self.points)  # bound again later, to choose among the runs
            return score

    climbed, objective = {}, Targets()
    next(attack(steps=4, restarts=2, objective=objective)(network, *digits, [0.1]))
    for points in (climbed[0], climbed[1]):
        runs = len(points) // 2
        assert RELATIVE_L2.realized(digits[0], points[0]).max() == 0
        assert RELATIVE_L2.realized(digits[0], points[runs]).min() > 0


@pytest.mark.parametrize("attack", ATTACKS)
def test_images_where_the_objective_is_flat_move_and_the_others_do_not_notice(attack, network, digits):
    image, label, id = digits
    (found,) = attack(objective=Away())(network, image, label, id, [0.1])
    even = id % 2 == 0
    assert L2.length(found - image)[even].min() > 0.05 * L2.length(image)[even].min()
    (alone,) = attack(objective=CrossEntropy())(network, image[~even], label[~even], id[~even], [0.1])
    torch.testing.assert_close(found[~even], alone, rtol=0, atol=1e-5)


def test_ten_steps_from_the_image_are_stronger_than_ten_from_a_random_start(network, digits):
    def right(attack):
        return (network(next(attack(network, *digits, [0.1]))).argmax(dim=1) == digits[1]).sum()

    assert right(PGD()) < right(PGD(random_start=True))


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_objective_that_is_flat_at_the_image_says_so_and_no_run_starts_there(attack, network, digits):
    class Flat(Recording):
        flat_at_image = True

    assert FeatureSpace.flat_at_image
    assert EOT(objective=Flat()).flat_at_image
    objective = Flat()
    next(attack(objective=objective)(network, *digits, [0.1]))
    assert all(RELATIVE_L2.realized(digits[0], point).min() > 0 for point in objective.points)
