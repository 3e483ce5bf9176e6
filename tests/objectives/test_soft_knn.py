import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.errors import UserError
from lit_knn.objectives import ASK, DefenseMargin, FeatureSpace, GuidedNeighbors, SoftKNN, TargetCentroid


@pytest.mark.parametrize("combination", ["soft", "hard"])
def test_as_the_temperature_falls_it_becomes_the_defense(make_victim, knn, combination):
    victim = make_victim(knn("early", 5, combination))
    image = (victim.image + 0.4 * torch.rand_like(victim.image)).clamp(0, 1)
    cold = SoftKNN(temperature=1e-9)._scores(victim, image)
    torch.testing.assert_close(cold, victim.defense.scores(image).to(cold).clamp_min(1e-300), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tap", ["early", "late"])
def test_it_does_at_least_as_much_as_feature_space(make_victim, knn, tap):
    """What the issue asks of every attack that knows the defense."""
    victim = make_victim(knn(tap), torch.float32, 50)
    left = {}
    for objective in (SoftKNN(), GuidedNeighbors(m=20), TargetCentroid(), ASK(), FeatureSpace()):
        attack = PGD(steps=15, objective=objective)
        found = next(attack(victim.model, victim.image, victim.label, victim.id, [0.15], victim.replica))
        left[objective.suffix] = float((victim.defense.scores(found).argmax(1) == victim.label).float().mean())
    assert max(left.values()) == left["FS"], left


def test_guides_give_a_gradient_where_all_neighbours_agree(make_victim, knn, slope):
    victim = make_victim(knn("late", 1))
    near = victim.defense.nearest(victim.defense.features(victim.image), 1)
    assert (victim.defense.database.ballots(near, victim.image.device).predictions()[:, 0] == victim.label).any()
    assert (slope(SoftKNN(pool=1).bind(victim), victim.image).flatten(1).norm(dim=1) > 0).all()


def test_each_image_on_its_own(victim, part):
    together = SoftKNN().bind(victim)(victim.image)
    alone = torch.cat([SoftKNN().bind(part(victim, [n]))(victim.image[[n]]) for n in range(len(victim.image))])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-9)
    assert (SoftKNN().bind(victim)(victim.image) < 0).sum() >= (
        DefenseMargin().bind(victim)(victim.image) < 0
    ).sum() - 2


@pytest.mark.parametrize("settings", [{"pool": 0}, {"guides": 0}, {"temperature": 0}])
def test_settings(settings):
    with pytest.raises(UserError, match="SoftKNN has pool"):
        SoftKNN(**settings)
