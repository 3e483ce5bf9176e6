import pytest
import torch

from lit_knn.backbones import Classifier, Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, BitDepth, NoDefense, TransformedClassifier, most_needed
from lit_knn.evaluation.observation import Observer
from lit_knn.evaluation.scorers import scorers
from lit_knn.randomness import Randomness
from lit_knn.threat_models.budget import RELATIVE_L2
from tests.conftest import TAPS
from tests.defenses.transformations.conftest import Noisy

IDS = torch.arange(7)
NOTHING = {"flat": torch.zeros(7).bool(), "passes": torch.zeros(7, 2).long()}
DEFENSES = [NoDefense(), KNN(taps=["early", "late"], k=[3]), TransformedClassifier(transformation=BitDepth(bits=2))]


@pytest.fixture
def views(database, classifier, data):
    return Database(path=database.path, taps=[Tap(**tap) for tap in TAPS], rows=[30, 300]).open(classifier, data)


@pytest.fixture
def observer(classifier, views):
    return Observer(classifier, views, most_needed(DEFENSES), scorers(DEFENSES, views))


@pytest.fixture
def images(data):
    image = data.on_after_batch_transfer(data.first_queries())["image"][:7]
    return image, (image + 0.1).clamp(0, 1)


def test_the_columns_are_those_of_the_network_and_of_defenses_that_look(observer, images, classifier, views):
    image, attacked = images
    told = {"flat": torch.arange(7) > 3, "passes": torch.arange(14).view(7, 2)}
    columns = observer.columns(IDS, image, attacked, told)
    assert set(columns) == observer.wanted
    assert all(torch.equal(columns[name], value) for name, value in told.items())
    assert torch.equal(columns["realized"], RELATIVE_L2.realized(image, attacked))
    logits, activations = classifier.tapped(attacked, [views[-1].tap(tap["name"]) for tap in TAPS])
    assert torch.equal(columns["logits"], logits)
    assert all(torch.equal(columns[observer.taps[tap]], activations[tap]) for tap in activations)
    (scores,) = (columns[name] for name in columns if name.startswith("scores "))
    assert torch.equal(scores[:, 0], classifier(DEFENSES[2].transformation(attacked, None)))  # (N, V, C)


def test_one_pass_gives_all_columns_but_those_of_defenses_that_look(observer, images, monkeypatch):
    passes = []
    for name in ("tapped", "forward"):
        real = getattr(Classifier, name)
        monkeypatch.setattr(Classifier, name, lambda *args, name=name, real=real: passes.append(name) or real(*args))
    observer.columns(IDS, *images, NOTHING)
    assert passes == ["tapped", "forward"]


def test_each_evaluation_is_a_column_and_of_one_pass_of_the_image_itself(classifier, images, monkeypatch):
    passes, real = [], Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda self, image: passes.append(len(image)) or real(self, image))
    noisy = TransformedClassifier(transformation=Noisy())
    observer = Observer(classifier, [], {}, scorers([NoDefense(), noisy], [], 4, 3), seed=4)
    columns = observer.columns(IDS, *images, NOTHING)
    assert len(passes) == 1 + 3
    found = [value[:, 0] for name, value in columns.items() if name.startswith("scores ")]
    own = [Randomness(4, IDS).of("evaluation", number).of("transformation") for number in range(3)]
    assert all(
        torch.equal(scores, real(classifier, Noisy()(images[1], numbers)))
        for scores, numbers in zip(found, own, strict=True)
    )


def test_each_view_answers_from_neighbors_that_are_known_and_asks_nobody(observer, images, views, monkeypatch):
    columns = observer.columns(IDS, *images, NOTHING)
    asked = observer.observation(IDS, columns).query
    known = [{tap: asked.of(view).neighbors(tap) for tap in ("early", "late")} for view in views]
    monkeypatch.setattr(type(views[0]), "search", lambda *args: 1 / 0)
    observation = observer.observation(IDS, columns, known)
    for view, found in zip(views, known, strict=True):
        assert observation.query.of(view).neighbors("late") is found["late"]
    assert next(iter(observation.scores.values())).shape == (1, 7, 10)
