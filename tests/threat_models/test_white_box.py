import numpy as np
import pytest
import torch
from torch import nn

from lit_knn.attacks.objectives import SoftKNN
from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import (
    CBWD,
    CBWE,
    KNN,
    RACNN,
    UW,
    BitDepth,
    Defense,
    FusedKNN,
    NoDefense,
    Similarity,
    TransformedClassifier,
    Variant,
)
from lit_knn.errors import UserError
from lit_knn.report.results import preferred
from lit_knn.threat_models import WhiteBox
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.surrogate_defense import SurrogateDefense
from tests.conftest import TAPS


def test_it_attacks_the_defended_network_and_knows_the_defense():
    defended = nn.Flatten()
    assert WhiteBox().attacked(defended) is defended
    assert WhiteBox().adaptive
    assert WhiteBox(name="half", overlap=0.5).name == "half"


# What a white box copies -------------------------------------------------------------------------------------------


def test_a_white_box_stands_for_one_of_each_tap():
    defenses = [
        NoDefense(),
        KNN(taps=["early", "late"], k=[5, 1]),
        KNN(taps=["mid"], k=[3], weightings=[UW(), CBWE()], combinations=["hard"]),
    ]
    threats = WhiteBox(rows=9, overlap=0.5).against(defenses)
    assert [threat.name for threat in threats] == ["white_box early", "white_box late", "white_box mid"]
    assert {(threat.rows, threat.overlap) for threat in threats} == {(9, 0.5)}
    assert [threat.defense.variants for threat in threats] == [
        [Variant("kNN", "early", 5, "CBW-D", "soft")],
        [Variant("kNN", "late", 5, "CBW-D", "soft")],
        [Variant("kNN", "mid", 3, "UW", "hard")],  # the first of what there is
    ]


def test_a_white_box_copies_what_the_results_put_first():
    defense = KNN(taps=["late"], k=[5, 1], weightings=[UW(), CBWD(m=5), CBWD()], combinations=["hard", "soft"])
    (threat,) = WhiteBox().against([defense])
    assert threat.defense.variants == preferred(defense.variants)
    (threat,) = WhiteBox().against([KNN(taps=["late"], weightings=[UW(), CBWD(m=5)])])
    assert threat.defense.variants == [Variant("kNN", "late", 50, "CBW-D(M=5, P=3)", "soft")]


@pytest.mark.parametrize("kind", [KNN, FusedKNN])
def test_a_vote_by_similarity_is_attacked_by_a_copy_of_its_own(kind):
    """Its images stop where that vote is wrong, whatever the others say; those of the others as well."""
    options = {"taps": ["late"]} if kind is KNN else {"taps": ["early", "late"], "fusion": ["votes"]}
    defense = kind(k=[5, 1], weightings=[UW(), CBWD(), Similarity()], **options)
    threats = WhiteBox().against([defense])
    assert [threat.defense.variants[0].weighting for threat in threats] == ["CBW-D", "cosine(T=0.07)"]
    if kind is KNN:
        assert [threat.name for threat in threats] == ["white_box late", "white_box late cosine(T=0.07)"]
    assert not any(threat.transfers([defense]) for threat in threats)
    beside = [[(v.k, v.weighting) for part in threat.beside for v in part.variants] for threat in threats]
    assert sorted(beside[0]) == [(1, "CBW-D"), (1, "UW"), (5, "CBW-D"), (5, "UW")]
    assert sorted(beside[1]) == [(1, "cosine(T=0.07)"), (5, "cosine(T=0.07)")]


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_defenses_at_a_tap_it_copies_what_the_results_put_first(order):
    defenses = [KNN(taps=["late"], k=[50]), KNN(taps=["late"], k=[5], weightings=[UW()])][::order]
    (threat,) = WhiteBox().against(defenses)
    assert threat.defense.variants == [Variant("kNN", "late", 50, "CBW-D", "soft")]
    assert not threat.transfers(defenses)


def test_a_white_box_stands_for_one_of_each_transformation():
    rounded = TransformedClassifier(transformation=BitDepth(), name="rounded")
    early, copied = WhiteBox().against([NoDefense(), KNN(taps=["early"]), rounded])
    assert [early.name, copied.name] == ["white_box early", "white_box rounded"]
    assert copied.defense.variants == rounded.variants
    assert copied.defense.differentiable
    assert not rounded.differentiable
    assert not copied.transfers([rounded])
    assert copied.beside == []


def test_a_white_box_stands_for_one_of_each_fusion_of_taps():
    fused = FusedKNN(taps=["early", "late"], k=[5, 1])
    defenses = [KNN(taps=["early"], k=[5]), fused, FusedKNN(taps=["late", "early"], fusion=["votes"], k=[7])]
    early, *threats = WhiteBox().against(defenses)
    assert early.beside[0].variants == defenses[0].variants
    assert [threat.name for threat in threats] == [
        "white_box fused votes early+late K=5 CBW-D soft",
        "white_box fused neighbors early+late K=5 CBW-D soft",
        "white_box fused features early+late K=5 CBW-D soft",
        "white_box fused votes late+early K=7 CBW-D soft",
    ]
    for threat, fusion in zip(threats, fused.fusion, strict=False):
        wanted = [variant for variant in fused.variants if variant.defense == f"fused {fusion}"]
        assert [variant for part in threat.beside for variant in part.variants] == wanted
        assert not threat.transfers(defenses)


def test_a_white_box_that_says_what_it_copies_stands_for_itself():
    threat = WhiteBox(defense=TransformedClassifier(transformation=BitDepth()), name="rounded")
    assert threat.against([KNN(taps=["late"])]) == [threat]
    assert threat.surrogate_defense(nn.Flatten(), None).defense is threat.defense


def test_a_white_box_needs_something_to_copy():
    with pytest.raises(UserError, match="nothing to copy in the defenses"):
        WhiteBox().against([NoDefense()])
    with pytest.raises(RuntimeError, match="against"):
        WhiteBox().surrogate_defense(nn.Flatten(), None)
    with pytest.raises(UserError, match="one variant of a defense, not 2"):
        WhiteBox(defense=KNN(taps=["late"], k=[1, 5], weightings=[CBWD()])).surrogate_defense(nn.Flatten(), None)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"overlap": -0.1}, r"overlap is -0.1; \[0, 1\]"),
        ({"overlap": 1.1}, "overlap is 1.1"),
        ({"rows": 0}, "rows is 0;"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        WhiteBox(**wrong)


def test_what_it_has_to_break_are_all_variants_of_its_tap():
    defenses = [NoDefense(), KNN(taps=["early", "late"], k=[5, 1], combinations=["hard"]), KNN(taps=["late"], k=[3])]
    for threat in WhiteBox().against(defenses):
        tap = threat.defense.taps[0]
        wanted = {variant for defense in defenses for variant in defense.variants if variant.tap == tap}
        assert {variant for defense in threat.beside for variant in defense.variants} == wanted


def test_its_images_are_a_transfer_unless_the_copy_and_its_database_are_those_of_the_run():
    defenses = [NoDefense(), KNN(taps=["early", "late"], k=[5, 1])]
    assert [threat.transfers(defenses) for threat in WhiteBox().against(defenses)] == [False, False]
    for settings in ({"rows": 9}, {"overlap": 0.0}, {"overlap": 0.5, "rows": 9}):
        assert all(threat.transfers(defenses) for threat in WhiteBox(**settings).against(defenses))
    other = KNN(taps=["late"], k=[5], weightings=[UW()], combinations=["hard"])
    assert not WhiteBox(defense=other).transfers([KNN(taps=["late"], k=[5], combinations=["soft", "hard"])])
    assert WhiteBox(defense=other).transfers([KNN(taps=["late"], k=[1])])
    (box,) = WhiteBox(defense=other).against([KNN(taps=["late"], k=[5, 6], combinations=["hard"])])
    assert box.transfers([KNN(taps=["late"], k=[5, 6], combinations=["hard"])])  # six neighbors are not known
    random = Guess()
    assert WhiteBox(defense=random).transfers([random])


class Guess(Defense):
    variants = (Variant("guess"),)

    def __call__(self, query):
        return query.randomness.uniform(query.image, 10)[None]


# The attacker's rows -----------------------------------------------------------------------------------------------


@pytest.fixture
def views(database_path, classifier, data):
    """The rows that the defense searches and those that a white box does, each as a set."""

    def call(*, theirs=None, **settings):
        database = Database(path=database_path, taps=[Tap(**tap) for tap in TAPS], rows=theirs)
        gallery = database.open(classifier, data)[-1]
        threat = WhiteBox(defense=KNN(taps=["late"], k=[1], weightings=[UW()]), **settings)
        parts = gallery, threat.surrogate_defense(classifier, gallery).gallery
        for part in parts:  # and nothing else is ever found
            assert np.isin(part.search("late", torch.randn(50, 24), 1).ids, part.ids).all()
        return [set(part.ids.tolist()) for part in parts]

    return call


def test_by_default_the_attacker_has_all_of_the_defenses_rows(views):
    for theirs, size in ((None, 1297), (600, 600)):
        defense, attacker = views(theirs=theirs)
        assert attacker == defense
        assert len(defense) == size


def test_fewer_rows_are_a_random_subset(views):
    defense, attacker = views(theirs=600, rows=300)
    assert attacker < defense
    assert len(attacker) == 300
    assert 500 < np.mean(sorted(attacker)) < 800  # of 1,297, whatever their order
    _, again = views(theirs=600, rows=300)
    assert again == attacker


@pytest.mark.parametrize(("overlap", "common"), [(1.0, 400), (0.25, 100), (0.5, 200), (0.0, 0)])
def test_the_share_of_common_rows_is_exact(overlap, common, views):
    defense, attacker = views(theirs=600, rows=400, overlap=overlap)
    assert len(defense) == 600
    assert len(attacker) == 400
    assert len(defense & attacker) == common


def test_a_share_is_of_as_many_as_the_defense_searches(views):
    defense, attacker = views(theirs=600, rows=0.25)
    assert (len(attacker), attacker <= defense) == (150, True)
    assert views(theirs=600, rows=0.25)[1] == views(theirs=600, rows=150)[1]


def test_the_attacker_may_have_more_rows_than_the_defense(views):
    defense, attacker = views(theirs=100, rows=1000, overlap=0.1)
    assert len(attacker) == 1000
    assert defense < attacker


def test_rows_that_do_not_exist_are_refused(views):
    with pytest.raises(UserError, match="shares 700 rows with the defense, which has 600: lower rows or overlap"):
        views(theirs=600, rows=700)
    with pytest.raises(UserError, match=r"rows 600 to 1,400 of .* but it has 1,297"):
        views(theirs=600, rows=800, overlap=0.0)
    with pytest.raises(UserError, match=r"but it has 1,297"):
        views(overlap=0.5)  # the defense has them all


def test_nothing_leaves_the_device_between_features_and_gradient(holding, classifier, data, gallery, monkeypatch):
    """Where rows are held: each step of an attack on the soft vote stays tensors; only yes or no is asked of them."""
    batch = data.on_after_batch_transfer(data.first_queries())
    threat = WhiteBox(defense=KNN(taps=["late"], k=[5], weightings=[CBWD()]), rows=600)
    copy = threat.surrogate_defense(classifier, gallery)
    attacked = AttackTarget(classifier, batch["image"], batch["label"], batch["id"], copy)
    score = SoftKNN().bind(attacked)

    def gradient():
        image = batch["image"].clone().requires_grad_()
        return torch.autograd.grad(score(image).sum(), image)[0]

    expected = gradient()  # rows are read, and put in the order of the view
    for owner, names in (
        (torch.Tensor, ("cpu", "numpy", "item", "tolist", "__array__", "__int__", "__float__", "__index__")),
        (torch, ("from_numpy", "as_tensor", "tensor")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, lambda *_, name=name, **__: pytest.fail(f"a tensor goes through {name}"))
    found, scores = gradient(), copy.scores(batch["image"])
    monkeypatch.undo()
    assert torch.equal(found, expected)
    assert found.flatten(1).any(dim=1).all()
    assert torch.equal(
        scores, SurrogateDefense(classifier, threat.defense, gallery.view(697, 1297)).scores(batch["image"])
    )


def test_the_attacker_searches_in_memory(classifier, gallery, monkeypatch):
    monkeypatch.setattr("lit_knn.database.index.resident.HELD_FROM", 1)
    threat = WhiteBox(defense=KNN(taps=["late"], k=[5], weightings=[UW()]), rows=600)
    held = threat.surrogate_defense(classifier, gallery).gallery
    assert held.indexes["late"] is gallery.indexes["late"].resident is not gallery.indexes["late"]


def test_a_stand_in_gives_way_to_a_defense_of_the_run():
    rival, own = RACNN(tap="late", k=3), KNN(taps=["late"], k=[7], weightings=[CBWD()])
    alone = {threat.name: threat.defense for threat in WhiteBox().against([rival])}
    assert [*alone] == ["white_box late", "white_box RA-CNN (training-free) late K=3"]
    assert alone["white_box late"].k == [3]
    for defenses in ([rival, own], [own, rival]):
        together = {threat.name: threat.defense for threat in WhiteBox().against(defenses)}
        assert together.keys() == alone.keys()
        assert together["white_box late"].k == [7]
    assert WhiteBox().against([rival])[0].transfers([rival])  # what it finds says nothing final
