import pytest
import torch

from lit_knn.errors import UserError
from lit_knn.objectives import TargetCentroid


def test_it_is_the_distance_to_the_mean_of_the_nearest_rows_of_a_wrong_class(victim):
    replica, guides, m = victim.defense, victim.defense.guides, 4
    features = replica.features(victim.image)
    wrong = guides.wrong(features, victim.label, 3, m)
    assert (wrong != victim.label[:, None]).all()
    for target in range(3):
        value = TargetCentroid(targets=3, m=m).bind(victim, target)(victim.image)
        for n, c in enumerate(wrong[:, target].tolist()):
            rows = guides.vectors[c][guides.present[c]]
            near = (rows - features[n]).square().sum(1).argsort()[:m]
            assert float(value[n]) == pytest.approx(-float((features[n] - rows[near].mean(0)).square().sum()), rel=1e-6)


def test_more_targets_than_classes_begin_again(victim):
    objective = TargetCentroid(targets=20)
    assert torch.equal(objective.bind(victim, 0)(victim.image), objective.bind(victim, 9)(victim.image))


def test_settings():
    for settings in ({"targets": 0}, {"m": 0}):
        with pytest.raises(UserError, match="1 or more"):
            TargetCentroid(**settings)
