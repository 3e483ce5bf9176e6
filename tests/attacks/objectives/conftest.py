"""A white-box attacker of the digits, in float64; and one of rows made by hand, whose features are their pixels."""

import numpy as np
import pytest
import torch

from lit_knn.database.index import Neighbors
from lit_knn.database.store import NeighborPredictions
from lit_knn.defenses import CBWD, KNN
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

QUERIES = 24


def struck(attack, attack_target, delta):
    """Return the images of a batch, attacked with all that its attacker holds."""
    return next(
        attack(
            attack_target.model,
            attack_target.image,
            attack_target.label,
            attack_target.ids,
            [delta],
            attack_target.surrogate_defense,
        )
    )


@pytest.fixture(scope="session")
def knn():
    def build(tap="late", k=5, combination="soft"):
        return KNN(taps=[tap], k=[k], weightings=[CBWD()], combinations=[combination])

    return build


@pytest.fixture
def make_victim(classifier, data, gallery, knn):
    """Build an attack target of the first images that the network gets right, in a given dtype."""
    batch = data.on_after_batch_transfer(data.first_queries())

    def build(defense=None, dtype=torch.float64, rows=QUERIES):
        network = classifier.to(dtype)
        image = batch["image"].to(dtype)
        right = (network(image).argmax(1) == batch["label"]).nonzero().flatten()[:rows]
        surrogate_defense = SurrogateDefense(network, defense or knn(), gallery)
        return AttackTarget(network, image[right], batch["label"][right], batch["id"][right], surrogate_defense)

    return build


@pytest.fixture
def attack_target(make_victim):
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
    """Some of the images of an attack target."""

    def call(attack_target, rows):
        return AttackTarget(
            attack_target.model,
            attack_target.image[rows],
            attack_target.label[rows],
            attack_target.ids[rows],
            attack_target.surrogate_defense,
        )

    return call


class PixelNetwork:
    """Features and logits are the pixels."""

    calls = 0

    def __call__(self, image):
        self.calls += 1
        return image.flatten(1)

    def activations(self, image, taps):
        return {tap: image.flatten(1) for tap in taps}

    def tapped(self, image, taps):
        return self(image), self.activations(image, taps)


class Rows:
    """A database of images ``(M, 3, 1, 1)``, searched by brute force."""

    def __init__(self, image, predictions, weights):
        self._image, self._ballots, self._weights = image, predictions, weights
        self.num_classes, self.ids = predictions.num_classes, torch.arange(len(image))

    def __len__(self):
        return len(self._image)

    def vectors(self, tap, ids):
        return self._image.flatten(1).float()[ids]

    def tap(self, name):
        return name

    def encoder(self, classifier):
        return classifier

    def project(self, tap, pooled):
        return pooled

    def search(self, tap, features, k):
        rows = self.vectors(tap, self.ids).numpy()
        distance = np.linalg.norm(features.detach().double().numpy()[:, None] - rows, axis=2)
        ids = np.argsort(distance, axis=1, kind="stable")[:, :k]
        return Neighbors(*map(torch.from_numpy, (ids, np.take_along_axis(distance, ids, 1).astype(np.float32))))

    def images(self, ids):
        return self._image[ids]

    def predictions(self, ids):
        probability, label, classes = self._ballots
        return NeighborPredictions(probability[ids], None if label is None else label[ids], classes)

    def votes(self, ids):
        return self._ballots.classes()[ids]

    def weights(self, name, ids):
        return self._weights[ids]


@pytest.fixture
def by_hand():
    """Build an attack target of points ``(N, 3)``, all of class 0, before rows ``(M, 3)`` of 3 classes."""

    def build(points, rows, vote, *, k, combination="soft", predictions=None, weights=None, dtype=torch.float64):
        points, rows = (torch.as_tensor(part).to(dtype)[..., None, None] for part in (points, rows))
        predictions = predictions or NeighborPredictions(torch.eye(3)[torch.as_tensor(vote)], None, 3)
        weights = torch.ones(len(rows)) if weights is None else torch.as_tensor(weights)
        defense = KNN(taps=["pixels"], k=[k], weightings=[CBWD()], combinations=[combination])
        network, label = PixelNetwork(), torch.zeros(len(points), dtype=torch.int64)
        surrogate_defense = SurrogateDefense(network, defense, Rows(rows, predictions, weights))
        return AttackTarget(network, points, label, torch.arange(len(points)), surrogate_defense)

    return build
