from dataclasses import replace

import numpy as np
import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import DefenseMargin, SoftKNN
from lit_knn.backbones import Classifier, Tap, set_precision
from lit_knn.database import StoredGallery
from lit_knn.defenses import RACNN, Query, Variant
from lit_knn.errors import UserError
from lit_knn.threat_models.surrogate_defense import SurrogateDefense
from tests.conftest import SURROGATE
from tests.defenses.neighbors.hull_reference import nearest_by_slsqp

LATE = {"tap": "late", "layer": "layer3.1.add"}  # maps of 1×1


@pytest.fixture
def batch(data):
    return data.on_after_batch_transfer(data.first_queries())


@pytest.fixture
def answer(classifier, gallery):
    def call(defense, image, database=gallery):
        return defense(Query(image, classifier, database, defense.needed))[0]

    return call


def tail(classifier, activation):
    """What the digits' network makes of ``(N, D)`` at that layer."""
    return classifier.network.fc(activation.relu())


def found(classifier, gallery, image, k):
    """The activations ``(N, D)``, and those ``(N, K, D)`` of the K nearest rows, by brute force."""
    whole = classifier.activations(image, [gallery.tap("late")])["late"]
    projection = gallery.projections["late"]
    rows = gallery.vectors("late", gallery.ids)
    ids = torch.cdist(projection(whole).double(), rows.double()).argsort(dim=1, stable=True)[:, :k]
    return whole.double(), (rows[ids] @ projection.components + projection.mean).double()


def nearest(query, vertices):
    _, weights, _ = nearest_by_slsqp(vertices - query)
    return weights @ vertices


def test_the_network_goes_on_from_the_nearest_point_of_the_hull(answer, batch, classifier, gallery):
    image = batch["image"][:10]
    scores = answer(RACNN(**LATE, k=6), image)
    whole, rows = found(classifier, gallery, image, 6)
    points = np.stack([nearest(query, vertices) for query, vertices in zip(whole.numpy(), rows.numpy(), strict=True)])
    expected = tail(classifier, torch.from_numpy(points).float())
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=2e-3)
    assert (scores - classifier(image)).abs().max() > 0.1


def test_of_one_neighbor_it_is_the_networks_answer_to_that_row(answer, batch, classifier, gallery):
    image = batch["image"][:10]
    _, rows = found(classifier, gallery, image, 1)
    expected = tail(classifier, rows[:, 0].float())
    torch.testing.assert_close(answer(RACNN(**LATE, k=1), image), expected, rtol=1e-4, atol=1e-4)


def test_trained_weights_choose_the_point(answer, batch, classifier, gallery, tmp_path):
    image = batch["image"][:10]
    trained = 0.02 * torch.randn(128, 128, generator=torch.Generator().manual_seed(0))
    torch.save({"projection": trained}, tmp_path / "weights.pth")
    defense = RACNN(**LATE, k=6, weights=tmp_path / "weights.pth")
    whole, rows = found(classifier, gallery, image, 6)
    scores = np.einsum("nkd,de,ne->nk", rows, trained.double(), whole)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    expected = tail(classifier, torch.from_numpy(np.einsum("nk,nkd->nd", shares, rows)).float())
    torch.testing.assert_close(answer(defense, image), expected, rtol=1e-3, atol=2e-3)
    assert defense.variants == [Variant("RA-CNN", "late", 6)]
    assert RACNN(**LATE).variants == [Variant("RA-CNN (training-free)", "late", 10)]


def test_its_gradient_is_that_of_its_scores(classifier, gallery, batch):
    """By central differences in float64 along a direction, where the same rows stay the nearest."""
    classifier, defense, image = classifier.double(), RACNN(**LATE, k=6), batch["image"][:8].double()
    direction = torch.randn(image.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def scores(image):
        return defense(Query(image, classifier, gallery, defense.needed))[0][:, 3]

    (slope,) = torch.autograd.grad(scores(image.requires_grad_()).sum(), image)
    along, step = (slope * direction).flatten(1).sum(dim=1), 1e-6
    measured = (scores(image + step * direction) - scores(image - step * direction)).detach() / (2 * step)
    assert ((along - measured).abs() <= 1e-3 * measured.abs() + 1e-5).sum() >= 7  # a face may change on the way


def test_attackers_who_know_it_leave_nothing(classifier, gallery, batch):
    defense = RACNN(**LATE, k=10)
    itself, neighbors = defense.copies()
    assert itself is defense
    assert DefenseMargin().fits(itself, gradient=True)
    image, label = batch["image"], batch["label"]
    scores = SurrogateDefense(classifier, itself, gallery).scores
    left = scores(image).argmax(1) == label
    assert left.float().mean() > 0.9
    attacks = [(PGD(steps=30, objective=DefenseMargin()), itself), (PGD(steps=20, objective=SoftKNN()), neighbors)]
    for attack, copy in attacks:
        held = SurrogateDefense(classifier, copy, gallery)
        attacked = next(attack(classifier, image, label, batch["id"], [0.3], held))
        found = scores(attacked).argmax(1) == label
        assert found.float().mean() < 0.4
        left &= found
    assert not left.any()


def test_it_refuses_what_it_cannot_go_on_from(answer, batch, classifier, database, data):
    image = batch["image"][:2]
    with pytest.raises(UserError, match=r"from layer 'late', but tap 'late' is of 'layer3\.1\.add': set its layer"):
        RACNN(tap="late")._verify(Query(image, classifier, database.open(classifier, data)[-1]), image)
    with pytest.raises(UserError, match=r"tap 'early' pools one of shape \(32, 4, 4\) to 128 numbers"):
        answer(RACNN(tap="early", layer="layer1.0.add"), image)
    gallery = database.open(classifier, data)[-1]
    for tap, activation in (
        (Tap("late", metric="cosine"), torch.rand(2, 64, 1, 1)),
        (Tap("late"), torch.rand(2, 8, 8)),
    ):
        changed = replace(gallery, taps={"late": tap})
        with pytest.raises(UserError, match=f"to 128 numbers .metric {tap.metric}.: take one of a vector"):
            RACNN(tap="late", layer="late")._verify(Query(image, classifier, changed), activation)
    with pytest.raises(UserError, match="RACNN has k: 0"):
        RACNN(tap="late", k=0)


def test_it_refuses_a_database_of_another_network(answer, batch, gallery):
    other = Classifier(**SURROGATE)
    with pytest.raises(UserError, match="but the database has those of another network"):
        answer(RACNN(**LATE), batch["image"][:2], replace(gallery, network=other))


def test_only_the_network_is_cast(answer, batch, classifier, monkeypatch):
    image = batch["image"][:5]
    expected = answer(RACNN(**LATE), image)
    set_precision(classifier, "bf16-mixed")
    seen, project = [], StoredGallery.project

    def noted(self, tap, pooled):
        seen.append((torch.is_autocast_enabled("cpu"), pooled.dtype))
        return project(self, tap, pooled)

    monkeypatch.setattr(StoredGallery, "project", noted)
    scores = answer(RACNN(**LATE), image)
    assert seen == [(False, torch.float32)]
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, rtol=0.1, atol=0.5)
    assert not torch.equal(scores, expected)


def test_a_layer_that_the_network_lacks_is_refused_before_anything_is_attacked():
    assert RACNN(tap="flatten").requirements().layers == ("flatten",)
    assert RACNN(**LATE, k=7).needed == {"late": 7}


@pytest.mark.parametrize(
    "held",
    [
        {"projection": torch.zeros(3, 4)},
        {"projection": torch.zeros(3)},
        {"other": torch.zeros(3, 3)},
        {"projection": torch.zeros(3, 3), "more": torch.zeros(1)},
        {"projection": torch.full((3, 3), torch.nan)},
        {"projection": torch.zeros(3, 3, dtype=torch.int64)},
        [torch.zeros(3, 3)],
    ],
)
def test_other_weights_are_refused(held, tmp_path):
    torch.save(held, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth of RACNN"):
        RACNN(tap="late", weights=tmp_path / "weights.pth")


def test_weights_of_another_length_are_refused(answer, batch, tmp_path):
    torch.save({"projection": torch.eye(3)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="for activations of 3 numbers, but tap 'late' has 128"):
        answer(RACNN(**LATE, weights=tmp_path / "weights.pth"), batch["image"][:2])


def test_a_tap_of_a_whole_map_will_do(classifier, batch):
    """Features are the maps, averaged over as many cells as they have."""

    class Maps:
        """Four rows, one of them the first image."""

        rows = torch.randn(4, 512, generator=torch.Generator().manual_seed(0))

        def tap(self, name):
            return Tap("layer1.0.add", pool=4, name=name)

        def encoder(self, classifier):
            return classifier

        def length(self, tap):
            return 512

        def project(self, tap, pooled):
            return pooled

        unproject = project

        def search(self, tap, features, k):
            return type("Found", (), {"ids": torch.arange(k).expand(len(features), k)})

        def vectors(self, tap, ids):
            return self.rows[ids]

    maps, image = Maps(), batch["image"][:2]
    maps.rows[2] = classifier.activations(image[:1], [maps.tap("maps")])["maps"][0]
    defense = RACNN(tap="maps", layer="layer1.0.add", k=4)
    scores = defense(Query(image, classifier, maps, defense.needed))[0]
    torch.testing.assert_close(scores[0], classifier(image)[0], rtol=1e-3, atol=1e-3)
