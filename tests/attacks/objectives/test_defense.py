import pytest
import torch

from lit_knn.attacks.gradient import gradient
from lit_knn.attacks.objectives import DefenseMargin, FeatureSpace, Margin
from lit_knn.defenses import NoDefense
from lit_knn.errors import UserError


def test_it_is_above_zero_exactly_where_the_defense_is_wrong(attack_target):
    image = (attack_target.image + 0.5 * torch.rand_like(attack_target.image)).clamp(0, 1)
    scores = attack_target.defense.scores(image)
    wrong = scores.argmax(1) != attack_target.label
    assert wrong.any()
    assert not wrong.all()
    assert torch.equal(DefenseMargin().bind(attack_target)(image) > 0, wrong)


def test_a_retrieval_has_no_gradient_and_a_differentiable_defense_has(make_victim, attack_target, slope):
    with pytest.raises(UserError, match="no gradient"):
        gradient(attack_target, DefenseMargin().bind(attack_target), attack_target.image)
    plain = make_victim(NoDefense())
    found, expected = (slope(o.bind(plain), plain.image) for o in (DefenseMargin(), Margin()))
    torch.testing.assert_close(found, expected)


def test_objectives_in_place_of_a_decision_choose_by_it(attack_target):
    expected = DefenseMargin().bind(attack_target)(attack_target.image)
    assert torch.equal(FeatureSpace().choice(attack_target)(attack_target.image), expected)
