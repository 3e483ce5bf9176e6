"""A white-box attacker of the digits: a copy of a kNN defense over the real database, in float64."""

import pytest
import torch

from lit_knn.defenses import CBWD, KNN
from lit_knn.replica import Replica
from lit_knn.victim import Victim

QUERIES = 24


@pytest.fixture(scope="session")
def knn():
    def build(tap="late", k=5, combination="soft"):
        return KNN(taps=[tap], k=[k], weightings=[CBWD()], combinations=[combination])

    return build


@pytest.fixture
def make_victim(classifier, data, database, knn):
    """Build a victim of the first images that the network gets right, in a given dtype."""
    database.open(classifier, data)
    batch = data.on_after_batch_transfer(data.first_queries())

    def build(defense=None, dtype=torch.float64, rows=QUERIES):
        network = classifier.to(dtype)
        image = batch["image"].to(dtype)
        right = (network(image).argmax(1) == batch["label"]).nonzero().flatten()[:rows]
        replica = Replica(network, defense or knn(), database)
        return Victim(network, image[right], batch["label"][right], batch["id"][right], replica)

    return build


@pytest.fixture
def victim(make_victim):
    return make_victim()


@pytest.fixture
def slope():
    """The gradient of a score with respect to the images."""

    def call(score, image):
        with torch.enable_grad():
            image = image.detach().requires_grad_()
            return torch.autograd.grad(score(image).sum(), image)[0]

    return call


@pytest.fixture
def part():
    """Some of the images of a victim."""

    def call(victim, rows):
        return Victim(victim.model, victim.image[rows], victim.label[rows], victim.id[rows], victim.replica)

    return call
