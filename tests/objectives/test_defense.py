import pytest
import torch

from lit_knn.attacks.gradient import gradient
from lit_knn.defenses import NoDefense
from lit_knn.errors import UserError
from lit_knn.objectives import DefenseMargin, FeatureSpace, Margin


def test_it_is_above_zero_exactly_where_the_defense_is_wrong(victim):
    image = (victim.image + 0.5 * torch.rand_like(victim.image)).clamp(0, 1)
    scores = victim.defense.scores(image)
    wrong = scores.argmax(1) != victim.label
    assert wrong.any()
    assert not wrong.all()
    assert torch.equal(DefenseMargin().bind(victim)(image) > 0, wrong)


def test_a_retrieval_has_no_gradient_and_a_differentiable_defense_has(make_victim, victim, slope):
    with pytest.raises(UserError, match="no gradient"):
        gradient(victim, DefenseMargin().bind(victim), victim.image)
    plain = make_victim(NoDefense())
    found, expected = (slope(o.bind(plain), plain.image) for o in (DefenseMargin(), Margin()))
    torch.testing.assert_close(found, expected)


def test_objectives_in_place_of_a_decision_choose_by_it(victim):
    expected = DefenseMargin().bind(victim)(victim.image)
    assert torch.equal(FeatureSpace().choice(victim)(victim.image), expected)
