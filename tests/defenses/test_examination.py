import random

import pytest
import torch

from lit_knn.backbones import Classifier
from lit_knn.defenses import BPDA, KNN, BitDepth, NoDefense, Transformed, randomized
from tests.conftest import NETWORK

IMAGE = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))

OWN = torch.Generator()


class Noisy(Transformed):
    """Adds what a function draws."""

    name = "noisy"

    def __init__(self, draw):
        self.draw = draw

    def transform(self, image):
        return (image + self.draw(image)).clamp(0, 1)


DRAWS = {
    "the global generator": torch.rand_like,
    "Python's generator": lambda image: random.random(),
    "a generator of its own": lambda image: torch.rand(image.shape, generator=OWN),
    "drawn, but no answer changes": lambda image: torch.rand_like(image) * 0,
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_defense_that_draws_is_told_and_the_generators_stay(draw, classifier):
    before = torch.get_rng_state(), random.getstate()
    (sentence,) = randomized([NoDefense(), Noisy(draw), BitDepth(bits=3)], classifier, IMAGE)
    assert sentence.startswith(
        "defense noisy draws random numbers when it answers: its results depend on the batch size"
    )
    assert len(randomized([BPDA(defense=Noisy(draw))], classifier, IMAGE)) == 1
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_what_answers_alike_is_not_and_retrievals_are_not_asked(classifier):
    assert (
        randomized([NoDefense(), BitDepth(bits=3), Noisy(torch.ones_like), KNN(taps=["late"])], classifier, IMAGE) == []
    )


def test_a_randomized_network_is_not_its_defenses_fault():
    class Drawing(torch.nn.Module):
        def forward(self, image):
            return torch.rand(len(image), 10)

    classifier = Classifier(**NETWORK)
    classifier.forward = Drawing()
    assert randomized([NoDefense(), BitDepth(bits=3)], classifier, IMAGE) == []
