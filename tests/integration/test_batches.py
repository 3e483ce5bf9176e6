"""Every attack on every objective, in float64: an image fares the same alone and among others."""

import pytest
import torch

from lit_knn import attacks, objectives
from lit_knn.attacks import APGD, CWL2, FGSM, IFGSM, PGD, GradientDescent, RandomNoise, Square
from lit_knn.defenses import CBWD, KNN
from lit_knn.objectives import (
    ASK,
    EOT,
    CrossEntropy,
    DefenseMargin,
    FeatureSpace,
    GuidedNeighbors,
    Margin,
    NeighborPrediction,
    SoftKNN,
    TargetCentroid,
    TargetedDLR,
)
from lit_knn.replica import Replica

IMAGES = 12
CASES = [
    FGSM(),
    IFGSM(steps=3),
    GradientDescent(steps=3),
    PGD(steps=3, restarts=2, objective=CrossEntropy()),
    APGD(steps=8, restarts=2),
    APGD(steps=5, objective=TargetedDLR(targets=2)),
    CWL2(steps=15, binary_search_steps=3, step_size=0.05, objective=Margin()),
    RandomNoise(restarts=2),
    Square(queries=30, objective=DefenseMargin()),
    PGD(steps=3, objective=FeatureSpace()),
    PGD(steps=2, objective=FeatureSpace(reading="literal")),
    PGD(steps=3, objective=NeighborPrediction()),
    PGD(steps=2, objective=NeighborPrediction(reading="shared_delta")),
    PGD(steps=3, objective=NeighborPrediction(reading="retrieval")),
    PGD(steps=3, objective=SoftKNN()),
    PGD(steps=3, objective=GuidedNeighbors(m=20)),
    PGD(steps=3, objective=TargetCentroid(targets=2)),
    PGD(steps=3, objective=ASK()),
    PGD(steps=2, objective=EOT(objective=CrossEntropy(), draws=2, evaluations=10)),
]
CONTRACTS = {"Attack", "BudgetError", "Noise", "Perturb", "Objective", "Score", "StandIn", "margin", "with_gradient"}


def test_no_attack_and_no_objective_is_left_out():
    tried = {type(case).__name__ for case in CASES} | {type(case.objective).__name__ for case in CASES}
    assert tried == {*attacks.__all__, *objectives.__all__} - CONTRACTS


@pytest.mark.parametrize("attack", CASES, ids=lambda attack: attack.name)
def test_an_image_fares_the_same_alone_and_among_others(attack, classifier, data, database):
    database.open(classifier, data)
    defense = KNN(taps=["early"], k=[5], weightings=[CBWD()])
    network = classifier.double()
    replica = Replica(network, defense, database)
    batch = data.on_after_batch_transfer(data.first_queries())
    image, label, id = batch["image"][:IMAGES].double(), batch["label"][:IMAGES], batch["id"][:IMAGES]

    def attacked(size):
        parts = [
            attack(network, image[n], label[n], id[n], [0.1, 0.2], replica) for n in torch.arange(IMAGES).split(size)
        ]
        return [torch.cat(found) for found in zip(*parts, strict=True)]

    for together, apart in zip(attacked(IMAGES), attacked(1), strict=True):
        torch.testing.assert_close(together, apart, rtol=0, atol=1e-7)
        for answer in (network, replica.scores):
            hits = [answer(found).argmax(1) == label for found in (together, apart)]
            assert torch.equal(*hits)
