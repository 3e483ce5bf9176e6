import pytest

from lit_knn.attacks import PGD
from lit_knn.backbones import Classifier
from lit_knn.cache import AdversarialCache
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.defenses import KNN, BitDepth, NoDefense
from lit_knn.errors import UserError
from lit_knn.objectives import FeatureSpace
from lit_knn.threat import BlackBox, GrayBox, WhiteBox

from .test_evaluation import build, test


class Named(Digits):
    """Digits whose classes are said to be others."""

    def __init__(self, names, **labels):
        super().__init__(split="test")
        self._names, self._added = names, labels.get("added", 0)

    @property
    def class_names(self):
        return self._names

    def open_shard(self, index):
        shard = super().open_shard(index)
        return type(shard)(shard.name, shard.keys(), shard._images, shard._labels + self._added)


@pytest.mark.parametrize(
    ("names", "added", "sentence"),
    [
        (list("abc"), 0, "data.queries: Named has 3 classes, but the network has 10"),
        ([str(number) for number in range(1000)], 0, "data.queries: Named has 1,000 classes"),
        (None, 1, r"query digits/\d+ has label 10, but the network's classes are 0 to 9"),
    ],
)
def test_labels_that_are_no_classes_are_refused_before_an_attack(classifier, monkeypatch, names, added, sentence):
    monkeypatch.setattr(PGD, "__call__", lambda *_: pytest.fail("attacked"))
    with pytest.raises(UserError, match=sentence):
        test(build(classifier), ImageData(queries=Named(names, added=added), batch_size=200))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attacks": []}, "at least one attack"),
        ({"deltas": [0.1, 1.5]}, r"deltas of \(0, 1\]"),
        ({"deltas": [-0.1]}, r"deltas of \(0, 1\]"),
        ({"attacks": [PGD(), PGD(steps=3)]}, "two attacks have the same name"),
        ({"threats": [GrayBox(), GrayBox()]}, "two threats have the same name"),
        ({"defenses": [NoDefense(), NoDefense()]}, "two defense variants have the same name"),
    ],
)
def test_settings_that_make_no_sense(classifier, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        build(classifier, **changes)


def test_more_neighbours_than_rows(classifier, data, database):
    with pytest.raises(UserError, match="1298 neighbours at early, but the database has 1297 rows"):
        test(build(classifier, database, defenses=[KNN(taps=["early"], k=[1298])]), data)


def test_a_white_box_attacks_one_size(classifier, database):
    several = Database(path=database.path, taps=list(database.taps.values()), rows=[100, 200])
    with pytest.raises(UserError, match=r"database of one size, but model.database.rows is \[100, 200\]"):
        build(classifier, several, attacks=[PGD(steps=2, objective=FeatureSpace())], threats=[WhiteBox()])


def test_the_smallest_database_has_to_have_k_rows(classifier, data, database):
    several = Database(path=database.path, taps=list(database.taps.values()), rows=[4, 200])
    with pytest.raises(UserError, match="5 neighbours at early, but the database has 4 rows"):
        test(build(classifier, several), data)


def test_a_cache_without_images_has_nothing_for_a_defense_that_looks_at_them(classifier, tmp_path):
    with pytest.raises(UserError, match=r"BitDepth looks at attacked images.*model\.cache\.images: true"):
        build(classifier, defenses=[BitDepth()], cache=AdversarialCache(path=tmp_path))
    build(classifier, defenses=[BitDepth()], cache=AdversarialCache(path=tmp_path, images=True))


@pytest.mark.parametrize("part", ["defended", "surrogate", "member"])
def test_every_network_is_tried_on_the_first_batch(classifier, data, part):
    pair = Classifier(network="tests.backbones.own_networks.Pair")
    surrogates = [pair] if part == "surrogate" else [classifier, pair]
    threats = [GrayBox()] if part == "defended" else [BlackBox(surrogates=surrogates)]
    evaluation = build(pair if part == "defended" else classifier, defenses=[NoDefense()], threats=threats)
    with pytest.raises(UserError, match="the network returns a tuple with 0: a float32 tensor"):
        test(evaluation, data)
