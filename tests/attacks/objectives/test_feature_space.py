import pytest
import torch
from torch import nn

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import FeatureSpace
from lit_knn.errors import UserError
from tests.attacks.objectives.conftest import struck


class Linear:
    """A surrogate_defense whose features are a linear map of the pixels, and whose neighbors are given."""

    def __init__(self, neighbors):
        torch.manual_seed(0)
        self.map = nn.Linear(12, 5, dtype=torch.float64).requires_grad_(False)
        self.given, self.k = neighbors, neighbors.shape[1]

    def features(self, image):
        return self.map(image.flatten(1))

    def neighbors(self, image, k, *, exclude_self):
        return None

    def vectors(self, ids, like):
        return self.map(self.given.flatten(2))

    def images(self, ids, like):
        return self.given


def test_the_centroid_is_the_sum_over_neighbors(attack_target, slope):
    objective = FeatureSpace()
    surrogate_defense = attack_target.defense
    vectors = surrogate_defense.vectors(
        surrogate_defense.neighbors(attack_target.image, 5, exclude_self=True), attack_target.image
    )  # (N, K, D)

    def explicit(image):
        return (surrogate_defense.features(image)[:, None] - vectors).square().sum((1, 2))

    image = (attack_target.image + 0.1 * torch.rand_like(attack_target.image)).clamp(0, 1)
    torch.testing.assert_close(objective.bind(attack_target)(image), explicit(image))
    torch.testing.assert_close(
        slope(objective.bind(attack_target), image), slope(explicit, image), rtol=1e-8, atol=1e-8
    )


def test_as_printed_it_is_exactly_the_opposite_on_a_linear_map(attack_target, slope):
    generator = torch.Generator().manual_seed(0)
    image, neighbors = (torch.rand(*n, 3, 2, 2, dtype=torch.float64, generator=generator) for n in ((4,), (4, 6)))
    linear = type(attack_target)(
        attack_target.model, image, attack_target.label[:4], attack_target.ids[:4], Linear(neighbors)
    )
    meant, printed, negated = (
        slope(FeatureSpace(reading=reading).bind(linear), image) for reading in ("grad_x", "literal", "literal_negated")
    )
    torch.testing.assert_close(printed, -meant)
    torch.testing.assert_close(negated, meant)


@pytest.mark.parametrize("tap", ["early", "late"])
def test_as_meant_it_attacks_and_as_printed_it_does_not(make_victim, knn, tap):
    attack_target = make_victim(knn(tap))
    accuracy = {}
    for reading in ("grad_x", "literal"):
        attack = PGD(steps=10, objective=FeatureSpace(reading=reading))
        found = struck(attack, attack_target, 0.3)
        accuracy[reading] = float(
            (attack_target.defense.scores(found).argmax(1) == attack_target.label).double().mean()
        )
    assert accuracy["grad_x"] < accuracy["literal"] - 0.2


def test_a_query_of_the_database_is_not_its_own_neighbor(attack_target, data):
    batch = data.on_after_batch_transfer(next(iter(data.database_batches([0]))))
    itself = type(attack_target)(
        attack_target.model,
        batch["image"][:8].double(),
        batch["label"][:8],
        batch["id"][:8],
        attack_target.surrogate_defense,
    )
    alone = FeatureSpace(k=1, exclude_self=False).bind(itself)(itself.image)
    other = FeatureSpace(k=1).bind(itself)(itself.image)
    assert (alone < 1e-3 * other).all()


def test_settings():
    with pytest.raises(UserError, match="grad_x, literal and literal_negated"):
        FeatureSpace(reading="other")
    with pytest.raises(UserError, match="1 or more"):
        FeatureSpace(k=0)
