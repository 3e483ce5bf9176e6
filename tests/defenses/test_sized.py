import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, Query, Sized, Variant

from ..conftest import TAPS


@pytest.fixture
def views(database, classifier, data):
    taps = [Tap(**tap) for tap in TAPS]
    return Database(path=database.path, taps=taps, rows=[1000, 30, 300]).open(classifier, data)


def test_it_answers_from_each_database_as_the_defense_does(views, classifier, data):
    defense = KNN(taps=["early", "late"], k=[3, 20])
    image = data.on_after_batch_transfer(next(iter(data.test_dataloader())))["image"]
    sized = Sized(defense, views)
    scores = sized(Query(image, classifier, views[-1], defense.needed))
    expected = [defense(Query(image, classifier, view, defense.needed)) for view in views]
    assert torch.equal(scores, torch.cat(expected))
    assert not torch.equal(expected[0], expected[1])
    assert (sized.needed, sized.uses_image) == ({"early": 20, "late": 20}, False)


def test_each_answer_says_how_many_rows_it_comes_from(views):
    defense = KNN(taps=["late"], k=[3])
    variants = Sized(defense, views).variants
    assert variants[0] == Variant("kNN", "late", 3, "UW", "soft", 30)
    assert [variant.rows for variant in variants] == [30] * 3 + [300] * 3 + [1000] * 3
    assert [variant._replace(rows="") for variant in variants] == 3 * defense.variants


def test_defenses_share_the_search_of_a_view(views, classifier, data, monkeypatch):
    searched = []
    search = type(views[0]).search
    monkeypatch.setattr(type(views[0]), "search", lambda self, *args: searched.append(len(self)) or search(self, *args))
    image = data.on_after_batch_transfer(next(iter(data.test_dataloader())))["image"][:2]
    query = Query(image, classifier, views[-1], {"late": 5})
    for defense in (KNN(taps=["late"], k=[5]), KNN(taps=["late"], k=[2])):
        Sized(defense, views)(query)
    assert searched == [30, 300, 1000]
