import numpy as np
import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.backbones import (
    Classifier,
    Projection,
    Tap,
    device_name,
    outside_networks,
    rounded_products,
    set_precision,
)
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.database.store import Store
from lit_knn.defenses import KNN, NoDefense, Query
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from lit_knn.threat_models.attack_target import AttackTarget
from tests.conftest import NETWORK, TAPS
from tests.database.building.test_base import Lengths

EARLY = Tap(**TAPS[0])
LATER = Tap("layer2.1.conv2", dimension=8, name="later")


@pytest.fixture
def image(data):
    return data.first_images(torch.device("cpu"))["image"]


@pytest.fixture
def mixed():
    classifier = Classifier(**NETWORK)
    set_precision(classifier, "bf16-mixed")
    return classifier


def test_the_network_alone_is_cast(classifier, image):
    """The reference casts the bare network, and pools what a hook has seen in float64."""
    seen, mixed = [], Classifier(**NETWORK, fold=False)
    set_precision(mixed, "bf16-mixed")
    handle = classifier.network.layer2[1].conv2.register_forward_hook(lambda *call: seen.append(call[-1]))
    with torch.autocast("cpu", torch.bfloat16):
        expected = classifier.network(classifier.normalize(image))
    handle.remove()
    assert expected.dtype == seen[0].dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):  # whatever is around it
        logits, pooled = mixed.tapped(image, [LATER])
    assert logits.dtype == pooled["later"].dtype == torch.float32
    assert torch.equal(logits, expected.float())
    assert torch.equal(mixed(image), logits)
    assert torch.equal(mixed.activations(image, [LATER])["later"], pooled["later"])
    np.testing.assert_allclose(pooled["later"], seen[0].double().mean(dim=(2, 3)), rtol=1e-5, atol=1e-6)
    assert not torch.equal(classifier(image), logits)


def test_a_step_that_is_cast_as_a_whole_changes_nothing_outside_of_networks(image, classifier):
    """Lightning does that; a projection and a distance in it are those of float32."""
    rows = classifier.activations(image, [EARLY])["early"]
    projection = Projection(rows.mean(dim=0), torch.linalg.qr(torch.randn(rows.shape[1], 24)).Q.T, torch.ones(24), 9)
    expected = projection(rows), torch.cdist(rows, rows), rows.softmax(dim=1)
    with torch.autocast("cpu", torch.bfloat16), outside_networks(rows.device):
        found = projection(rows), torch.cdist(rows, rows), rows.softmax(dim=1)
        assert torch.equal(classifier(image), classifier.tapped(image, [EARLY])[0])
    assert all(map(torch.equal, expected, found))


def test_gradients_of_a_cast_network_are_float32_and_lead_the_same_way(classifier, mixed, image, data):
    def gradient(network):
        moved = image.clone().requires_grad_()
        attack_target = AttackTarget(network, moved, data.first_queries()["label"], torch.arange(len(image)))
        return torch.autograd.grad(attack_target.cross_entropy(moved).sum(), moved)[0].flatten(1)

    one, other = gradient(classifier), gradient(mixed)
    assert other.dtype == torch.float32
    assert torch.cosine_similarity(one, other).median() > 0.95


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", 16, "16-mixed", "transformer-engine", "half"])
def test_a_trainer_refuses_it_before_anything_is_read(precision):
    with pytest.raises(UserError, match=f"trainer.precision is {precision}; accepted are"):
        EvalTrainer(accelerator="cpu", devices=1, logger=False, precision=precision)


@pytest.mark.parametrize(
    ("given", "precision"), [(32, "32-true"), ("bf16-mixed", "bf16-mixed"), ("64", "64-true"), (None, "32-true")]
)
def test_a_trainer_takes_lightnings_shorter_names(given, precision):
    assert EvalTrainer(accelerator="cpu", devices=1, logger=False, precision=given).precision == precision


def test_tf32_is_told():
    assert rounded_products(torch.device("cpu")) == "none"
    assert rounded_products(torch.device("cuda")) == "convolutions"  # PyTorch's default
    torch.set_float32_matmul_precision("high")
    try:
        assert rounded_products(torch.device("cuda")) == "convolutions, matrix products"
    finally:
        torch.set_float32_matmul_precision("highest")


# ---------------------------------------------------------------- from images to answers


@pytest.fixture
def evaluate(tmp_path):
    """Extract and test under a precision."""

    def call(precision, *, database=None, defenses=(), images=None):
        evaluation = Evaluation(
            classifier=Classifier(**NETWORK),
            attacks=[PGD(steps=5)],
            deltas=[0.1],
            defenses=[NoDefense(), *defenses],
            database=database,
        )
        data = ImageData(queries=Digits(split="test"), database=images, num_queries=100, batch_size=100)
        quiet = {"logger": False, "enable_progress_bar": False, "default_root_dir": tmp_path / "runs"}
        EvalTrainer(accelerator="cpu", devices=1, precision=precision, **quiet).test(evaluation, data)
        return evaluation, data

    return call


def accuracies(evaluation):
    return {
        (row["defense"], row["weighting"], row["k"], row["delta"]): row["accuracy"]
        for row in evaluation.results
        if row["topk"] == 1
    }


def test_pca_distances_and_votes_are_those_of_float32(evaluate, tmp_path):
    """The reference: NumPy in float64 on what the cast network gives, one forward pass outside of any Trainer."""
    parts = {
        "database": Database(path=tmp_path / "d", taps=[EARLY], build_missing=True),
        "defenses": [KNN(taps=["early"], k=[5, 50])],
        "images": Digits(split="train"),
    }
    evaluation, data = evaluate("bf16-mixed", **parts)
    classifier, store = evaluation.classifier, evaluation.gallery.store
    assert classifier.precision == "bf16-mixed"
    batches = [data.on_after_batch_transfer(batch) for batch in data.database_batches([0])]
    rows = torch.cat([classifier.activations(batch["image"], [EARLY])["early"] for batch in batches]).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    features = store.features("early", np.arange(len(store))).astype(np.float64)
    np.testing.assert_allclose(features.var(axis=0, ddof=1), values[::-1][:24], rtol=2e-3)
    leading = (rows - rows.mean(axis=0)) @ vectors[:, ::-1][:, :8]  # their directions are well apart
    np.testing.assert_allclose(np.abs(features[:, :8]), np.abs(leading), atol=np.abs(features).max() / 100)

    batch = data.first_images(torch.device("cpu"))
    projection = evaluation.gallery.projections["early"]
    pooled = classifier.activations(batch["image"], [EARLY])["early"].double()
    queries = (pooled - projection.mean.double()) @ projection.components.double().T
    distances = np.linalg.norm(queries.numpy()[:, None] - features, axis=2)  # (N, M)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :50]
    query = Query(batch["image"], classifier, evaluation.gallery, evaluation.needed)
    np.testing.assert_allclose(
        query.neighbors("early").distances, np.take_along_axis(distances, nearest, axis=1), rtol=1e-4
    )
    votes = store.softmax_rows(nearest).astype(np.float64).mean(axis=1)  # UW
    right = (votes.argmax(axis=1) == batch["label"].numpy()).mean()
    assert accuracies(evaluation)["kNN", "UW", 50, 0.0] == pytest.approx(right, abs=1e-9)

    with pytest.raises(UserError, match=r"classifier is '.* in bf16-mixed' where '.*' is expected"):
        evaluate("32-true", **parts)


def test_attacks_are_as_strong_in_every_precision(evaluate):
    exact, *others = (accuracies(evaluate(precision)[0]) for precision in ("32-true", "bf16-mixed", "64-true"))
    assert exact["none", "", "", 0.1] < exact["none", "", "", 0.0] - 0.5
    for other in others:
        assert other == pytest.approx(exact, abs=0.05)


def test_a_database_in_float64_is_that_of_float32(evaluate, tmp_path):
    def features(precision):
        database = Database(path=tmp_path / precision, taps=[EARLY], build_missing=True)
        evaluate(precision, database=database, defenses=[KNN(taps=["early"], k=[5])], images=Lengths([60, 50]))
        return Store(database.store_path).features("early", np.arange(110))

    one, other = features("32-true"), features("64-true")
    np.testing.assert_allclose(np.abs(one), np.abs(other), atol=np.abs(one).max() / 1000)


def test_a_device_has_a_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU, number {device.index}")
    assert device_name(torch.device("cuda", 1)) == "a GPU, number 1"
    assert device_name(torch.device("cpu")).startswith("cpu, ")
    assert device_name(torch.device("mps")) == "mps"
