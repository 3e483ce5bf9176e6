import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, Defense, NoDefense, Query, Seen, Variant
from lit_knn.evaluation.cache import Attacked
from lit_knn.evaluation.scoring import answers, variants
from tests.conftest import TAPS


class Second(Defense):
    """Two variants: the logits, and these with classes 0 and 1 exchanged."""

    variants = (Variant("same"), Variant("swapped"))

    def __call__(self, query):
        return torch.stack([query.logits, query.logits[:, [1, 0, 2]]])


def look(predicted, size):
    """Return queries whose logits are for these classes."""
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
    realized = torch.full((len(predicted),), size)
    return Attacked(Query(None, None, seen=Seen(logits, {})), realized, 2 * realized, realized > 0.25)


def test_cases_and_sizes_are_told_apart_and_the_clean_images_stand_in_each():
    clean, first, second = (
        look([0, 1], 0.0),
        [look([1, 1], 0.1), look([2, 1], 0.2)],
        [look([0, 0], 0.3), look([0, 2], 0.4)],
    )
    outcome = answers(
        iter([clean, *first, *second]), torch.tensor([0, 1]), [NoDefense(), Second()], [], topk=[1, 2], sizes=2
    )
    assert outcome.hits.shape == (2, 3, 2, 3, 2)  # (A, E, N, V, T)
    none = outcome.hits[..., 0, 0]
    assert none.tolist() == [
        [[True, True], [False, True], [False, True]],
        [[True, True], [True, False], [True, False]],
    ]
    assert torch.equal(outcome.hits[..., 1, 0], none)
    assert outcome.hits[0, 0, :, 2, 0].tolist() == [False, False]
    assert outcome.realized[:, :, 0].tolist() == torch.tensor([[0, 0.1, 0.2], [0, 0.3, 0.4]]).tolist()
    assert torch.equal(outcome.realized_normalized, 2 * outcome.realized)
    assert torch.equal(outcome.flat, outcome.realized > 0.25)


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
        return Attacked(query, nothing, nothing, nothing.bool())

    return see, batch["label"]


def test_a_retrieval_answers_from_each_database_and_others_once(views, seen):
    see, label = seen
    defenses = [KNN(taps=["early", "late"], k=[3, 20]), NoDefense()]
    looks = [see(views[-1]), see(views[-1])]
    found = answers(looks, label, defenses, views, topk=[1], sizes=1).hits
    parts = [answers(2 * [see(view)], label, defenses[:1], [view], topk=[1], sizes=1).hits for view in views]
    none = answers(looks, label, defenses[1:], [], topk=[1], sizes=1).hits
    assert torch.equal(found, torch.cat([*parts, none], dim=3))
    assert not torch.equal(parts[0], parts[1])


def test_each_answer_says_how_many_rows_it_comes_from(views):
    found = variants([NoDefense(), KNN(taps=["late"], k=[3])], views)
    assert found[:2] == [Variant("none"), Variant("kNN", "late", 3, "UW", "soft", 30)]
    assert [variant.rows for variant in found] == ["", *[30] * 3, *[300] * 3, *[1000] * 3]


def test_defenses_share_the_search_of_a_database(views, seen, monkeypatch):
    see, label = seen
    searched, search = [], type(views[0]).search
    monkeypatch.setattr(type(views[0]), "search", lambda self, *args: searched.append(len(self)) or search(self, *args))
    answers(
        [see(views[-1]), see(views[-1])],
        label,
        [KNN(taps=["late"], k=[5]), KNN(taps=["late"], k=[2])],
        views,
        topk=[1],
        sizes=1,
    )
    assert searched == 2 * [30, 300, 1000]
