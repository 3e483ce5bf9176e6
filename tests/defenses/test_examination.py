import random

import pytest
import torch

from lit_knn.backbones import Classifier
from lit_knn.defenses import BPDA, KNN, BitDepth, NoDefense, Transformation, TransformedClassifier, randomized
from lit_knn.errors import UserError
from tests.conftest import NETWORK

IMAGE = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))

OWN = torch.Generator()


class Adding(Transformation):
    """Adds what a function draws."""

    name = "noisy"

    def __init__(self, draw):
        self.draw = draw

    def __call__(self, image, randomness):
        return (image + self.draw(image, randomness)).clamp(0, 1)


def noisy(draw, around=lambda transformation: transformation):
    return TransformedClassifier(transformation=around(Adding(draw)))


ROUNDED = TransformedClassifier(transformation=BitDepth(bits=3))


DRAWS = {
    "the global generator": lambda image, randomness: torch.rand_like(image),
    "Python's generator": lambda image, randomness: random.random(),
    "a generator of its own": lambda image, randomness: torch.rand(image.shape, generator=OWN),
    "drawn, but no answer changes": lambda image, randomness: torch.rand_like(image) * 0,
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_defense_that_draws_is_told_and_the_generators_stay(draw, classifier):
    before = torch.get_rng_state(), random.getstate()
    (sentence,) = randomized([NoDefense(), noisy(draw), ROUNDED], classifier, IMAGE)
    assert sentence.startswith(
        "defense noisy draws random numbers that are not its query's: its results depend on the batch size"
    )
    assert sentence.endswith("draw from `query.randomness`")
    assert len(randomized([noisy(draw, lambda inner: BPDA(transformation=inner))], classifier, IMAGE)) == 1
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_what_answers_alike_is_not_and_retrievals_are_not_asked(classifier):
    keyed = noisy(lambda image, randomness: randomness.normal(image))
    assert randomized([NoDefense(), ROUNDED, keyed, KNN(taps=["late"])], classifier, IMAGE) == []


def test_drawing_from_the_query_has_to_be_told(classifier):
    silent = noisy(lambda image, randomness: randomness.normal(image))
    silent.random = False
    with pytest.raises(UserError, match=r"defense noisy draws from .*, but its `random` is False"):
        randomized([silent], classifier, IMAGE)


def test_a_randomized_network_is_not_its_defenses_fault():
    class Drawing(torch.nn.Module):
        def forward(self, image):
            return torch.rand(len(image), 10)

    classifier = Classifier(**NETWORK)
    classifier.forward = Drawing()
    assert randomized([NoDefense(), ROUNDED], classifier, IMAGE) == []
