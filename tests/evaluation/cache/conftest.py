"""Runs on a cache of their own, and the gradients that they took."""

import pytest
import torch
from pytorch_lightning import Trainer

from lit_knn.attacks import PGD
from lit_knn.backbones import Classifier, Tap
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.defenses import KNN, Defense, NoDefense, Variant
from lit_knn.evaluation.cache import ActivationCache
from lit_knn.evaluation.module import Evaluation
from lit_knn.threat_models import BlackBox, GrayBox
from tests.conftest import NETWORK, TAPS, run, tiny

QUERIES, BATCHES = 30, 3


class Recording(KNN):
    """Keeps its scores: equal accuracies could hide other images."""

    def __call__(self, query):
        self.scores = [*getattr(self, "scores", []), super().__call__(query)]
        return self.scores[-1]


class Bright(Defense):
    """Looks at the image."""

    variants = [Variant("bright")]  # noqa: RUF012

    def __call__(self, query):
        return query.classify((query.image * 1.05).clamp(0, 1))[None]


@pytest.fixture
def gradients(monkeypatch):
    """The size of each batch of which a gradient was taken."""
    taken, real = [], torch.autograd.grad

    def counted(outputs, inputs, *args, **kwargs):
        taken.append(len(inputs))
        return real(outputs, inputs, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    return taken


@pytest.fixture
def queries():
    """Some digits, to be changed; their database is 1,297 others."""

    def build(split="test", batch_size=12, **changes):
        changes = {"num_queries": QUERIES, **changes}
        return lambda: ImageData(
            queries=Digits(split=split), database=Digits(split="train"), batch_size=batch_size, **changes
        )

    return build


@pytest.fixture(scope="module")
def classifier():
    """The quickstart's network, traced once for all tests."""
    return Classifier(**NETWORK)


@pytest.fixture(scope="module")
def surrogate():
    return Classifier(**{**NETWORK, "network": "lit_knn.backbones.digits.digits_surrogate"})


@pytest.fixture
def evaluate(classifier, queries, database_path, surrogate, tmp_path):
    """Run a test on a cache in `tmp_path`, or on none, and return all that came of it, to the last bit."""

    def call(*, cache=True, images=False, rows=None, seed=0, taps=TAPS, data=None, precision="32-true", **changes):
        given = {
            "classifier": classifier,
            "attacks": [PGD(steps=2)],
            "deltas": [0.05, 0.1],
            "threats": [GrayBox(), BlackBox(surrogates=[surrogate])],
            "defenses": [NoDefense(), Recording(taps=[tap["name"] for tap in taps], k=[1, 5])],
            "database": Database(path=database_path, taps=[Tap(**tap) for tap in TAPS], rows=rows, order_seed=seed),
        }
        evaluation = Evaluation(
            cache=ActivationCache(path=tmp_path / "cache", images=images) if cache else None,
            **{**given, **changes},
        )
        quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        Trainer(accelerator="cpu", devices=1, precision=precision, **quiet).test(
            evaluation, (data or queries())(), verbose=False
        )
        scores = [value for defense in evaluation.defenses for value in getattr(defense, "scores", [])]
        return evaluation.results, [value.tolist() for value in scores], evaluation.warnings

    return call


@pytest.fixture
def folders(tmp_path):
    return lambda: sorted(path.name for path in (tmp_path / "cache").iterdir())


@pytest.fixture(scope="module")
def other_projection(tmp_path_factory):
    """The same images with PCA of fewer rows and dimensions."""
    folder = tmp_path_factory.mktemp("other")
    config = tiny(folder / "database", folder / "runs")
    config["model"]["database"] |= {"projection_rows": 300, "taps": [{**tap, "dimension": 12} for tap in TAPS]}
    run("extract", config)
    run("index", config)
    return Database(
        path=folder / "database", taps=[Tap(**{**tap, "dimension": 12}) for tap in TAPS], projection_rows=300
    )
