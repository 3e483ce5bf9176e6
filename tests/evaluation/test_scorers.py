from dataclasses import replace

import pytest

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, BitDepth, NoDefense, TransformedClassifier, Variant
from lit_knn.evaluation.scorers import Scorer, cautions, scorers
from tests.conftest import TAPS
from tests.defenses.transformations.conftest import Noisy


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


def test_only_a_defense_that_looks_has_columns_and_its_settings_and_database_decide_which(views):
    assert not any(scorer.columns for scorer in scorers([NoDefense(), KNN(taps=["late"])], views))
    three, again, four = (TransformedClassifier(transformation=BitDepth(bits=bits)) for bits in (3, 3, 4))
    assert Scorer(three, None).columns == Scorer(again, None, seed=1).columns  # it does not draw
    looking = [three, four, Looking(taps=["late"]), Looking(taps=["late"], k=[7])]
    columns = [name for scorer in scorers(looking, views, evaluations=3) for name in scorer.columns]
    assert len(set(columns)) == len(columns) == 2 + 2 * 3


def test_each_evaluation_of_a_defense_that_draws_has_a_column_which_the_seed_decides():
    noisy = TransformedClassifier(transformation=Noisy())
    (three,), (five,) = (scorers([noisy], [], 1, times) for times in (3, 5))
    assert len({*five.columns}) == 5
    assert five.columns[:3] == three.columns  # what is known of three serves five
    assert not {*five.columns} & {*Scorer(noisy, None, seed=2, evaluations=5).columns}


def test_several_evaluations_are_a_line_of_each_protocol(views):
    defenses = [NoDefense(), TransformedClassifier(transformation=Noisy()), KNN(taps=["late"], k=[3])]
    lines = [line for scorer in scorers(defenses, views[:1], 0, 4) for line in scorer.variants]
    assert [(line.defense, line.protocol, line.evaluations) for line in lines] == [
        ("none", "", ""),
        *[("noisy", protocol, 4) for protocol in ("mean", "worst", "majority")],
        *[("kNN", "", "")] * 3,
    ]
    once = [line for scorer in scorers(defenses, views[:1], 0, 1) for line in scorer.variants]
    assert once == list(dict.fromkeys(line.answer for line in lines))


def test_who_draws_and_is_evaluated_once_is_named():
    defenses = [NoDefense(), TransformedClassifier(transformation=Noisy())]
    (sentence,) = cautions(scorers(defenses, []))
    assert sentence.startswith("defense noisy answers at random, and each query is evaluated once")
    other = TransformedClassifier(transformation=Noisy(), name="noisier")
    (both,) = cautions(scorers([*defenses, other], []))
    assert both.startswith("2 defenses (noisy, noisier) answer at random, and each query is evaluated once")
    assert not cautions(scorers(defenses, [], 0, 2))
