"""What an attacker who copies a transformation leaves, beside one who does not know that there is any."""

from functools import partial

import pytest
import torch

from lit_knn.attacks import APGD, PGD
from lit_knn.attacks.objectives import EOT, DefenseMargin
from lit_knn.defenses import BPDA, JPEG, BitDepth, GridCrop, Query, RandomCrop, TotalVariation, TransformedClassifier
from lit_knn.randomness import Randomness
from lit_knn.threat_models import WhiteBox

COUNT, ANSWERS = 40, 5  # images, and answers of a random defense to each
IDS = torch.arange(COUNT)


@pytest.mark.parametrize(
    ("defense", "delta"),
    [
        (TransformedClassifier(transformation=RandomCrop(size=0.75), draws=4), 0.18),
        (TransformedClassifier(transformation=GridCrop(size=0.75)), 0.12),
        (TransformedClassifier(transformation=JPEG()), 0.15),
        (TransformedClassifier(transformation=BitDepth(bits=2)), 0.12),
        (TransformedClassifier(transformation=BitDepth(quantizer="guo")), 0.08),
        (TransformedClassifier(transformation=BitDepth(quantizer="athalye")), 0.12),
        (TransformedClassifier(transformation=TotalVariation()), 0.18),
        (TransformedClassifier(transformation=TotalVariation(weight=0.015, per_channel=False, isotropic=False)), 0.22),
    ],
    ids=lambda part: part.name if isinstance(part, TransformedClassifier) else "",
)
def test_an_attacker_with_a_copy_leaves_far_less(defense, delta, classifier, data):
    image, label = classified(classifier, data)
    attack = partial(PGD, steps=8) if defense.random or defense.draws > 1 else partial(APGD, steps=30)
    (gray,) = PGD(steps=10)(classifier, image, label, IDS, [delta])
    (copy,) = defense.copies()
    white = by_copy(attack, copy, classifier, image, label, delta)
    assert accuracy(defense, classifier, image, label) > 0.6
    assert accuracy(defense, classifier, white, label) < 0.6 * accuracy(defense, classifier, gray, label)


@pytest.mark.parametrize(("transformation", "delta"), [(TotalVariation(weight=0.2), 0.16)])
def test_an_own_gradient_leaves_far_less_than_that_of_the_identity(transformation, delta, classifier, data):
    image, label = classified(classifier, data)
    defense = TransformedClassifier(transformation=transformation)
    copies = *defense.copies(), TransformedClassifier(transformation=BPDA(transformation=transformation))
    found = (by_copy(partial(PGD, steps=8), copy, classifier, image, label, delta) for copy in copies)
    own, identity = (accuracy(defense, classifier, attacked, label) for attacked in found)
    assert own < 0.7 * identity


def classified(classifier, data):
    """Return images and what the network takes them for."""
    image = torch.stack([data.image("queries", 0, row) for row in range(COUNT)]).float() / 255
    with torch.no_grad():
        return image, classifier(image).argmax(1)


def by_copy(attack, copy, classifier, image, label, delta):
    """Return what an attack makes of images that climbs the average answer of a copy."""
    held = WhiteBox(defense=copy).surrogate_defense(classifier, None)
    objective = EOT(objective=DefenseMargin(), draws=3, evaluations=10)
    (found,) = attack(objective=objective)(classifier, image, label, IDS, [delta], held)
    return found


@torch.no_grad()
def accuracy(defense, classifier, image, label):
    answers = ANSWERS if defense.random else 1
    queries = (Query(image, classifier, randomness=Randomness(seed, IDS)) for seed in range(1000, 1000 + answers))
    return sum((defense(query)[0].argmax(1) == label).float().mean().item() for query in queries) / answers
