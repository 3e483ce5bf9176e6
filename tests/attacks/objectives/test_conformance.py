"""What every objective of the package keeps; a new one is found by itself."""

import pytest
import torch

from lit_knn.attacks.objectives import CrossEntropy, Objective
from tests.conformance import examples

OBJECTIVES = examples(Objective, {"EOT": {"objective": CrossEntropy(), "draws": 2}})
WITHOUT_GRADIENT = {"DefenseMargin"}  # of a defense that retrieves
each_objective = pytest.mark.parametrize("name", OBJECTIVES)


def beside(attack_target):
    """Images near the clean ones, where no distance is zero."""
    noise = torch.Generator().manual_seed(0)
    drawn = torch.randn(attack_target.image.shape, generator=noise, dtype=attack_target.image.dtype)
    return (attack_target.image + 0.02 * drawn).clamp(0, 1)


@each_objective
def test_it_gives_one_value_for_each_image_whatever_the_batch(name, attack_target, part):
    objective, image = OBJECTIVES[name], beside(attack_target)
    for target in range(min(objective.targets, 2)):
        together = objective.bind(attack_target, target)(image).detach()
        assert together.shape == (len(image),)
        assert together.isfinite().all()
        assert (together <= objective.highest).all()
        few = slice(3, 6)
        apart = objective.bind(part(attack_target, few), target)(image[few]).detach()
        torch.testing.assert_close(apart, together[few], rtol=1e-6, atol=1e-8)


@each_objective
def test_a_small_step_along_its_gradient_climbs_or_there_is_none(name, attack_target, slope):
    objective, image = OBJECTIVES[name], beside(attack_target)
    score = objective.bind(attack_target)
    before = score(image.requires_grad_())
    assert before.requires_grad is (name not in WITHOUT_GRADIENT)
    if name in WITHOUT_GRADIENT:
        return
    ascent = slope(score, image)
    assert ascent.shape == image.shape
    assert ascent.isfinite().all()
    length = ascent.flatten(1).norm(dim=1).clamp_min(1e-30)[:, None, None, None]
    climbed = score(image.detach() + 1e-5 * ascent / length).detach() - before.detach()
    moved = ascent.flatten(1).abs().amax(dim=1) > 0
    assert moved.any()
    assert (climbed[moved] > 0).double().mean() > 0.5  # not all: what is looked up again has no gradient


@each_objective
def test_its_answer_is_that_of_what_is_attacked(name, attack_target):
    objective, image = OBJECTIVES[name], beside(attack_target)
    if not objective.answers:
        return
    objective.bind(attack_target)(image)
    attacked = attack_target.surrogate_defense.scores if objective.adaptive else attack_target.model
    torch.testing.assert_close(attack_target.answer()[0].to(image), attacked(image).to(image), rtol=0, atol=1e-6)


@each_objective
def test_what_it_asks_is_counted(name, attack_target, slope):
    score, image = OBJECTIVES[name].bind(attack_target), beside(attack_target)
    attack_target.passes.take()
    score(image)
    assert attack_target.passes.take()[0, 0] > 0
    if name not in WITHOUT_GRADIENT:
        slope(score, image)
        assert attack_target.passes.take()[0, 1] > 0


@each_objective
def test_it_leaves_the_clean_images_alone_and_says_what_it_is(name, attack_target):
    objective, image = OBJECTIVES[name], attack_target.image.clone()
    objective.bind(attack_target)(beside(attack_target))
    objective.choice(attack_target)(beside(attack_target))
    assert torch.equal(attack_target.image, image)
    suffixes = [other.suffix for other in OBJECTIVES.values() if other.suffix]
    assert suffixes.count(objective.suffix) <= 1
    assert "\n    Cost:\n" in type(objective).__doc__
