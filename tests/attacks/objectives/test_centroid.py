import pytest
import torch

from lit_knn.attacks.objectives import TargetCentroid
from lit_knn.errors import UserError


def test_it_is_the_distance_to_the_mean_of_the_nearest_rows_of_a_wrong_class(attack_target):
    surrogate_defense, exemplars, m = attack_target.defense, attack_target.defense.exemplars, 4
    features = surrogate_defense.features(attack_target.image)
    wrong = exemplars.wrong(features, attack_target.label, 3, m)
    assert (wrong != attack_target.label[:, None]).all()
    for target in range(3):
        value = TargetCentroid(targets=3, m=m).bind(attack_target, target)(attack_target.image)
        for n, c in enumerate(wrong[:, target].tolist()):
            rows = exemplars.vectors[c][exemplars.present[c]]
            near = (rows - features[n]).square().sum(1).argsort()[:m]
            assert float(value[n]) == pytest.approx(-float((features[n] - rows[near].mean(0)).square().sum()), rel=1e-6)


def test_more_targets_than_classes_begin_again(attack_target):
    objective = TargetCentroid(targets=20)
    assert torch.equal(
        objective.bind(attack_target, 0)(attack_target.image), objective.bind(attack_target, 9)(attack_target.image)
    )


def test_settings():
    for settings in ({"targets": 0}, {"m": 0}):
        with pytest.raises(UserError, match="1 or more"):
            TargetCentroid(**settings)
