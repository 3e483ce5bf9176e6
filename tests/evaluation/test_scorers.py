from dataclasses import replace

import pytest

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, BitDepth, NoDefense, TransformedClassifier, Variant
from lit_knn.evaluation.scorers import Scorer, scorers
from tests.conftest import TAPS


@pytest.fixture
def views(database, classifier, data):
    taps = [Tap(**tap) for tap in TAPS]
    return Database(path=database.path, taps=taps, rows=[1000, 30, 300]).open(classifier, data)


def test_each_answer_says_how_many_rows_it_comes_from(views):
    found = [
        variant for scorer in scorers([NoDefense(), KNN(taps=["late"], k=[3])], views) for variant in scorer.variants
    ]
    assert found[:2] == [Variant("none"), Variant("kNN", "late", 3, "UW", "soft", 30)]
    assert [variant.rows for variant in found] == ["", *[30] * 3, *[300] * 3, *[1000] * 3]


class Looking(KNN):
    """Retrieves, and looks at the image."""

    def requirements(self):
        return replace(super().requirements(), image=True)


def test_only_a_defense_that_looks_has_a_column_and_its_settings_and_database_decide_which(views):
    assert not any(scorer.column for scorer in scorers([NoDefense(), KNN(taps=["late"])], views))
    three, again, four = (TransformedClassifier(transformation=BitDepth(bits=bits)) for bits in (3, 3, 4))
    assert Scorer(three, None).column == Scorer(again, None, seed=1).column  # it does not draw
    looking = [three, four, Looking(taps=["late"]), Looking(taps=["late"], k=[7])]
    columns = [scorer.column for scorer in scorers(looking, views)]
    assert len(set(columns)) == len(columns) == 2 + 2 * 3
