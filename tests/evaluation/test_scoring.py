import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import (
    KNN,
    BitDepth,
    Defense,
    NoDefense,
    Query,
    Requirements,
    Seen,
    TransformedClassifier,
    Variant,
)
from lit_knn.evaluation.observation import Observation
from lit_knn.evaluation.scorers import Scorer, scorers
from lit_knn.evaluation.scoring import score
from lit_knn.randomness import Randomness
from tests.conftest import TAPS


class Second(Defense):
    """Two variants: the logits, and these with classes 0 and 1 exchanged."""

    variants = (Variant("same"), Variant("swapped"))

    def requirements(self):
        return Requirements(image=False)

    def __call__(self, query):
        return torch.stack([query.logits, query.logits[:, [1, 0, 2]]])


def observed(predicted, size, scores=None):
    """Return queries whose logits are for these classes."""
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
    realized = torch.full((len(predicted),), size)
    query, passes = Query(None, None, seen=Seen(logits, {})), (10 * realized).long()[:, None].repeat(1, 2)
    return Observation(query, scores or {}, realized, 2 * realized, realized > 0.25, passes)


def test_cases_and_sizes_are_told_apart_and_the_clean_images_stand_in_each():
    clean, first, second = (
        observed([0, 1], 0.0),
        [observed([1, 1], 0.1), observed([2, 1], 0.2)],
        [observed([0, 0], 0.3), observed([0, 2], 0.4)],
    )
    found = score(
        iter([clean, *first, *second]),
        torch.tensor([0, 1]),
        scorers([NoDefense(), Second()], []),
        topk=[1, 2],
        sizes=2,
    )
    assert found.hits.shape == (2, 3, 2, 3, 2)  # (A, E, N, V, T)
    none = found.hits[..., 0, 0]
    assert none.tolist() == [
        [[True, True], [False, True], [False, True]],
        [[True, True], [True, False], [True, False]],
    ]
    assert torch.equal(found.hits[..., 1, 0], none)
    assert found.hits[0, 0, :, 2, 0].tolist() == [False, False]
    assert found.realized[:, :, 0].tolist() == torch.tensor([[0, 0.1, 0.2], [0, 0.3, 0.4]]).tolist()
    assert torch.equal(found.realized_normalized, 2 * found.realized)
    assert torch.equal(found.flat, found.realized > 0.25)
    assert torch.equal(found.passes, (10 * found.realized).long()[..., None].repeat(1, 1, 1, 2))


def test_a_defense_that_looks_at_the_image_has_answered_already():
    scorer = Scorer(TransformedClassifier(transformation=BitDepth()), None)
    scores = {scorer.columns[0]: torch.tensor([[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])}  # (V, N, C)
    found = score(
        2 * [observed([0, 1], 0.0, scores)],
        torch.tensor([0, 1]),
        [Scorer(NoDefense(), None), scorer],
        topk=[1],
        sizes=1,
    )
    assert found.hits[0, 0, :, :, 0].tolist() == [[True, False], [True, True]]


class Guess(Defense):
    """Of each image any class, another one each time."""

    variants = (Variant("guess"),)

    def requirements(self):
        return Requirements(image=False)

    def __call__(self, query):
        return torch.nn.functional.one_hot(query.randomness("class").integers(3), 3)[None].float()


def test_right_evaluations_of_a_defense_that_draws_are_counted():
    ids = torch.arange(40)
    query = Query(None, None, seen=Seen(torch.eye(3)[ids % 3], {}), randomness=Randomness(5, ids))
    size = torch.zeros(40)
    seen = Observation(query, {}, size, size, size.bool(), size.long()[:, None].repeat(1, 2))
    label = torch.zeros(40).long()
    hits = score([seen], label, scorers([NoDefense(), Guess()], [], 5, 7), topk=[1], sizes=0).hits[0, 0, ..., 0]
    drawn = [Randomness(5, ids).of("evaluation", number).of("class").integers(3) for number in range(7)]
    assert hits.dtype == torch.int16
    assert torch.equal(hits[:, 0], (ids % 3 == 0).short())  # once, as it does not draw
    assert torch.equal(hits[:, 1], (torch.stack(drawn) == 0).sum(0).short())
    assert len(hits[:, 1].unique()) > 3
    fewer = score([seen], label, scorers([Guess()], [], 5, 6), topk=[1], sizes=0).hits[0, 0, :, 0, 0]
    assert torch.equal(fewer, (torch.stack(drawn[:6]) == 0).sum(0).short())  # more evaluations are added to those


# ---------------------------------------------------------------- databases of several sizes


@pytest.fixture
def views(database, classifier, data):
    taps = [Tap(**tap) for tap in TAPS]
    return Database(path=database.path, taps=taps, rows=[1000, 30, 300]).open(classifier, data)


@pytest.fixture
def seen(data, classifier, views):
    """Images as a test sees them, their labels and what retrievals need."""
    batch = data.on_after_batch_transfer(next(iter(data.test_dataloader())))

    def see(gallery):
        query = Query(batch["image"], classifier, gallery, {"early": 20, "late": 20})
        nothing = torch.zeros(len(batch["image"]))
        return Observation(query, {}, nothing, nothing, nothing.bool(), nothing.long()[:, None].repeat(1, 2))

    return see, batch["label"]


def test_a_retrieval_answers_from_each_database_and_others_once(views, seen):
    see, label = seen
    defenses = [KNN(taps=["early", "late"], k=[3, 20]), NoDefense()]
    found = score(2 * [see(views[-1])], label, scorers(defenses, views), topk=[1], sizes=1).hits
    parts = [score(2 * [see(view)], label, scorers(defenses[:1], [view]), topk=[1], sizes=1).hits for view in views]
    none = score(2 * [see(views[-1])], label, scorers(defenses[1:], []), topk=[1], sizes=1).hits
    assert torch.equal(found, torch.cat([*parts, none], dim=3))
    assert not torch.equal(parts[0], parts[1])


def test_defenses_share_the_search_of_a_database(views, seen, monkeypatch):
    see, label = seen
    searched, search = [], type(views[0]).search
    monkeypatch.setattr(type(views[0]), "search", lambda self, *args: searched.append(len(self)) or search(self, *args))
    defenses = [KNN(taps=["late"], k=[5]), KNN(taps=["late"], k=[2])]
    score([see(views[-1]), see(views[-1])], label, scorers(defenses, views), topk=[1], sizes=1)
    assert searched == 2 * [30, 300, 1000]
