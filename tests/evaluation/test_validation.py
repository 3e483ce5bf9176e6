import numpy as np
import pytest

from lit_knn.attacks import CWL2, PGD, Square
from lit_knn.attacks.objectives import EOT, DefenseMargin, FeatureSpace, NeighborPrediction, SoftKNN, TargetedDLR
from lit_knn.backbones import Classifier, Tap
from lit_knn.data import Digits, ImageData
from lit_knn.data.base import ArrayShard
from lit_knn.database import Database
from lit_knn.defenses import KNN, RACNN, NoDefense
from lit_knn.errors import UserError
from lit_knn.threat_models import BlackBox, GrayBox, WhiteBox
from tests.evaluation.test_module import build, test


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
        (None, 1, r"query digits/\d+ has label 10, but the network's classes are 0 to 9: where yours are 1 to 10, sub"),
        (None, 2, r"query digits/\d+ has label 1[01], but the network's classes are 0 to 9$"),
    ],
)
def test_labels_that_are_no_classes_are_refused_before_an_attack(classifier, monkeypatch, names, added, sentence):
    monkeypatch.setattr(PGD, "attempts", lambda *_: pytest.fail("attacked"))
    with pytest.raises(UserError, match=sentence):
        test(build(classifier), ImageData(queries=Named(names, added=added), batch_size=200))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attacks": []}, "at least one attack"),
        ({"deltas": [0.1, 1.5]}, r"deltas of \(0, 1\]"),
        ({"deltas": [-0.1]}, r"deltas of \(0, 1\]"),
        ({"deltas": [0.1, 1.5], "norm": "linf"}, r"deltas of \(0, 1\]"),
        ({"deltas": [0], "norm": "l2"}, r"deltas of \(0, ∞\)"),
        ({"deltas": ["8/0"]}, "^model.deltas: '8/0' is no size; numbers, and fractions such as 8/255, are accepted$"),
        ({"norm": "l1"}, "norm: 'l1' is unknown; relative_l2, l2, linf are accepted"),
        (
            {"attacks": [PGD(), CWL2()], "norm": "linf"},
            "^CWL2 in model.attacks has no steps for model.norm: linf; APGD, FGSM, FMN, IFGSM, .*, Square have$",
        ),
        ({"attacks": [PGD(), PGD(steps=3)]}, "two attacks have the same name"),
        ({"threats": [GrayBox(), GrayBox()]}, "two threats have the same name"),
        ({"defenses": [KNN(taps=["late"]), NoDefense(), NoDefense()]}, "two defense variants .* same name: none; set"),
    ],
)
def test_settings_that_make_no_sense(classifier, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        build(classifier, **changes)


def test_more_neighbors_than_rows(classifier, data, database):
    with pytest.raises(UserError, match="1,298 neighbors at early, but the database has 1,297 rows"):
        test(build(classifier, database, defenses=[KNN(taps=["early"], k=[1298])]), data)


def test_a_tap_that_the_database_lacks_is_told_before_it_is_built(classifier, tmp_path):
    unbuilt = Database(path=tmp_path, taps=[Tap("layer1.0.add", name="early")], build_missing=True)
    with pytest.raises(UserError, match=r"neighbors at 'erly', but the database has no such tap; it has early$"):
        build(classifier, unbuilt, defenses=[KNN(taps=["erly"])])


def test_a_tap_is_not_taken_for_a_layer(classifier, tmp_path):
    unbuilt = Database(path=tmp_path, taps=[Tap("layer3.1.add", name="late")], build_missing=True)
    with pytest.raises(UserError, match=r"RA-CNN .*'late' is the name of a tap: set its layer to layer3\.1\.add, that"):
        build(classifier, unbuilt, defenses=[RACNN(tap="late")])


def test_a_network_does_not_go_on_from_features_of_another(classifier, tmp_path):
    of_another = Database(path=tmp_path, taps=[Tap("flatten", name="late")], network=classifier)
    with pytest.raises(UserError, match=r"goes on from layer 'flatten' of model.classifier, but .* of another network"):
        build(classifier, of_another, defenses=[RACNN(tap="late", layer="flatten")])


def test_a_white_box_attacks_one_size(classifier, database):
    several = Database(path=database.path, taps=list(database.taps.values()), rows=[100, 200])
    with pytest.raises(UserError, match=r"database of one size, but model.database.rows is \[100, 200\]"):
        build(classifier, several, attacks=[PGD(steps=2, objective=FeatureSpace())], threats=[WhiteBox()])


def test_the_smallest_database_has_to_have_k_rows(classifier, data, database):
    several = Database(path=database.path, taps=list(database.taps.values()), rows=[4, 200])
    with pytest.raises(UserError, match="5 neighbors at early, but the database has 4 rows"):
        test(build(classifier, several), data)


@pytest.mark.parametrize("part", ["defended", "surrogate", "member"])
def test_every_network_is_tried_on_the_first_batch(classifier, data, part):
    pair = Classifier(network="tests.backbones.own_networks.Pair")
    surrogates = [pair] if part == "surrogate" else [classifier, pair]
    threats = [GrayBox()] if part == "defended" else [BlackBox(surrogates=surrogates)]
    evaluation = build(pair if part == "defended" else classifier, defenses=[NoDefense()], threats=threats)
    with pytest.raises(UserError, match="the network returns a tuple with 0: a float32 tensor"):
        test(evaluation, data)


# ---------------------------------------------------------------- what depends on classes and rows


@pytest.fixture
def few(tmp_path):
    """A network of so many classes for 8×8 images."""
    (tmp_path / "few.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef few(n=4):\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(16, n))\n"
    )
    return lambda n: Classifier(network=f"{tmp_path / 'few.py'}:few", arguments={"n": n})


class Labeled(Digits):
    """Digits of the first classes only."""

    def __init__(self, classes):
        super().__init__(split="test")
        self.classes = classes

    @property
    def class_names(self):
        return super().class_names[: self.classes]

    def open_shard(self, index):
        shard = super().open_shard(index)
        rows = np.flatnonzero(shard._labels < self.classes)[:12]
        return ArrayShard("few", [str(row) for row in rows], shard._images[rows], shard._labels[rows])


class Counting(PGD):
    """Says how many batches it was asked to attack."""

    asked = 0

    def prepare(self, attack_target, objective, randomness):
        type(self).asked += 1
        return super().prepare(attack_target, objective, randomness)


@pytest.fixture
def attack(monkeypatch):
    monkeypatch.setattr(Counting, "asked", 0)
    return Counting(steps=1, name="PGD")


@pytest.mark.parametrize(("classes", "topk"), [(2, [1]), (4, [1]), (5, [1]), (6, [1, 5])])
def test_by_default_a_k_is_left_out_that_every_answer_is_right_for(few, classes, topk):
    data = ImageData(queries=Labeled(classes))
    rows = test(build(few(classes), deltas=[0.1]), data)
    assert sorted({row["topk"] for row in rows}) == topk


@pytest.mark.parametrize(("topk", "sentence"), [([1, 5], "1 to 3 are accepted"), ([4], "1 to 3 are accepted")])
def test_a_k_that_was_asked_for_is_refused_before_anything_is_attacked(few, attack, topk, sentence):
    with pytest.raises(UserError, match=rf"model\.topk is .* the classifier has 4 classes: {sentence}"):
        test(build(few(4), attacks=[attack], topk=topk), ImageData(queries=Labeled(4)))
    assert attack.asked == 0


@pytest.mark.parametrize("topk", [[], [0, 1], [1, 1]])
def test_values_of_k_that_make_no_sense(classifier, topk):
    with pytest.raises(UserError, match=r"model\.topk is .*different numbers from 1"):
        build(classifier, topk=topk)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_targeted_ratio_of_few_classes(few, classes):
    attacks = [PGD(steps=1, objective=EOT(objective=TargetedDLR()))]
    rows = test(build(few(classes), attacks=attacks), ImageData(queries=Labeled(classes)))
    assert {row["attack"] for row in rows} >= {"PGD-EOT-DLR-T"}


def test_a_surrogate_of_other_classes(few, attack, classifier, data):
    threats = [GrayBox(), BlackBox(surrogates=[classifier, few(4)])]
    with pytest.raises(
        UserError, match="network few has 4 classes and is attacked in place of digits_resnet, which has 10"
    ):
        test(build(classifier, attacks=[attack], threats=threats), data)
    assert attack.asked == 0


@pytest.mark.parametrize(
    ("objective", "rows", "sentence"),
    [
        (
            FeatureSpace(),
            4,
            "the copy that white_box late holds wants 5 neighbors at late, but the database has 4 rows",
        ),
        (FeatureSpace(), 5, "PGD-FS looks for 6 rows around an image, but the attacker's database has 5: raise rows"),
        (FeatureSpace(k=9), 9, "PGD-FS looks for 10 rows"),
        (NeighborPrediction(k=9), 9, "PGD-PR looks for 10 rows"),
        (SoftKNN(), 4, "wants 5 neighbors"),
    ],
)
def test_an_attacker_of_too_few_rows(classifier, data, database, attack, objective, rows, sentence):
    attacks = [attack, PGD(steps=1, objective=objective)]
    defenses = [KNN(taps=["late"], k=[5])]
    with pytest.raises(UserError, match=sentence):
        test(
            build(classifier, database, attacks=attacks, defenses=defenses, threats=[GrayBox(), WhiteBox(rows=rows)]),
            data,
        )
    assert attack.asked == 0


@pytest.mark.parametrize(
    "objective",
    [FeatureSpace(exclude_self=False), FeatureSpace(k=4), NeighborPrediction(reading="grad_x"), DefenseMargin()],
)
def test_an_attacker_of_just_enough_rows(classifier, data, database, objective):
    """All of 5 rows vote for one class or another: nothing but a number is asked for."""
    attack = (Square(queries=3, objective=objective) if isinstance(objective, DefenseMargin) else
              PGD(steps=1, objective=objective))  # fmt: skip
    given = {"attacks": [attack], "threats": [WhiteBox(rows=5)], "defenses": [KNN(taps=["late"], k=[5])]}
    few = ImageData(queries=data.queries, database=data.database, num_queries=6)
    assert {row["n"] for row in test(build(classifier, database, **given), few)} == {6}


@pytest.mark.parametrize("key", ["threats", "defenses"])
def test_an_empty_list_is_not_the_default(classifier, key):
    with pytest.raises(UserError, match=rf"^model.{key} is \[\]: give one at least, or leave the key out"):
        build(classifier, **{key: []})
