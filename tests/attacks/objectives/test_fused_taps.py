"""Attackers who know a defense at several taps together."""

import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import (
    ASK,
    DefenseMargin,
    FeatureSpace,
    GuidedNeighbors,
    NeighborPrediction,
    SoftKNN,
    TargetCentroid,
)
from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import CBWD, FusedKNN, Similarity
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.surrogate_defense import SurrogateDefense
from tests.attacks.objectives.conftest import struck
from tests.conftest import TAPS

FUSIONS = ["votes", "neighbors", "features"]
STAND_INS = [SoftKNN(), GuidedNeighbors(), TargetCentroid(targets=1), ASK(), FeatureSpace(), NeighborPrediction()]
each_fusion = pytest.mark.parametrize("fusion", FUSIONS)


@pytest.fixture
def victim(database_path, classifier, data):
    database = Database(path=database_path, taps=[Tap(**tap) for tap in TAPS])
    batch = data.on_after_batch_transfer(data.first_queries())

    def build(fusion, dtype=torch.float64, rows=8, weighting=None, combination="soft"):
        joined = ["early+late"] if fusion == "features" else []  # others need no index side by side
        defense = FusedKNN(
            taps=["early", "late"],
            fusion=[fusion],
            k=[5],
            weightings=[weighting or CBWD()],
            combinations=[combination],
        )
        network, image = classifier.to(dtype), batch["image"].to(dtype)[:rows]
        copy = SurrogateDefense(network, defense, database.open(classifier, data, joined)[-1])
        return AttackTarget(network, image, batch["label"][:rows], batch["id"][:rows], copy)

    return build


@pytest.mark.parametrize(
    "weighting", [CBWD(), Similarity(temperature=0.5), Similarity(similarity="euclidean", temperature=100.0)]
)
@pytest.mark.parametrize("combination", ["soft", "hard"])
@each_fusion
def test_the_soft_vote_becomes_the_defense_as_its_temperature_falls(victim, fusion, combination, weighting):
    attacked = victim(fusion, weighting=weighting, combination=combination)
    noise = torch.Generator().manual_seed(0)
    drawn = torch.rand(attacked.image.shape, generator=noise, dtype=attacked.image.dtype)
    image = (attacked.image + 0.4 * drawn).clamp(0, 1)
    cold = SoftKNN(temperature=1e-9)._scores(attacked, image)
    wanted = attacked.defense.scores(image).to(cold).clamp_min(1e-300)
    torch.testing.assert_close(cold, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attacked.answer()[0].to(cold), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("objective", STAND_INS, ids=lambda objective: objective.suffix)
@each_fusion
def test_every_stand_in_has_a_value_and_a_gradient_of_each_image_alone(victim, slope, fusion, objective):
    attacked = victim(fusion)
    assert objective.fits(attacked.defense.defense, gradient=True)
    noise = torch.Generator().manual_seed(0)
    drawn = torch.randn(attacked.image.shape, generator=noise, dtype=attacked.image.dtype)
    image = (attacked.image + 0.02 * drawn).clamp(0, 1)
    score = objective.bind(attacked)
    attacked.passes.take()
    ascent = slope(score, image)
    assert attacked.passes.take()[0].tolist()[1] >= 1
    assert ascent.isfinite().all()
    assert (ascent.flatten(1).norm(dim=1) > 0).all()
    one = AttackTarget(attacked.model, attacked.image[3:4], attacked.label[3:4], attacked.ids[3:4], attacked.defense)
    torch.testing.assert_close(objective.bind(one)(image[3:4]), score(image)[3:4].detach(), rtol=1e-6, atol=1e-8)


@each_fusion
def test_nothing_is_left_of_them_where_nothing_is_left_of_one_tap(victim, fusion):
    attacked = victim(fusion, torch.float32, 50)
    left = {}
    for objective in (SoftKNN(), FeatureSpace()):
        found = struck(PGD(steps=20, objective=objective), attacked, 0.3)
        left[objective.suffix] = float((DefenseMargin().bind(attacked)(found) <= 0).float().mean())
    assert left["soft-kNN"] <= min(0.1, left["FS"]), left


@pytest.mark.parametrize("fusion", ["votes", "neighbors"])
def test_rows_found_side_by_side_are_those_of_the_taps_nearest_first(victim, fusion):
    copy = victim(fusion).defense
    image = victim(fusion).image
    features = copy.features(image)
    searched = copy.searched(image)
    torch.testing.assert_close(copy.together(searched), features)
    ids, distances = copy.found(features, 6)
    union = torch.cat([copy.gallery.search(tap, feature, 6).ids for tap, feature in searched.items()], dim=1)
    assert (ids[:, :, None] == union[:, None]).any(dim=2).all()
    assert all(len(set(row)) == 6 for row in ids.tolist())
    torch.testing.assert_close(distances, (copy.vectors(ids, features) - features[:, None]).norm(dim=2).float())
    assert (distances.diff(dim=1) >= 0).all()
