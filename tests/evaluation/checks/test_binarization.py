import dataclasses

import pytest
import torch

from lit_knn.attacks import PGD, RandomNoise, Square
from lit_knn.attacks.objectives import DefenseMargin, FeatureSpace, SoftKNN, TargetCentroid
from lit_knn.defenses import KNN, UW, FusedKNN, RandomDatabase, Rejecting
from lit_knn.errors import UserError
from lit_knn.evaluation.checks import BinarizationTest
from lit_knn.evaluation.checks.binarization import _is_wrong
from lit_knn.threat_models import WhiteBox
from lit_knn.threat_models.budget import RELATIVE_L2

WHITE = [WhiteBox()]


def plots(evidence, check, delta=0.1):
    ((threat, _), *_) = evidence.evaluation.cases
    original = threat.surrogate_defense(evidence.evaluation.classifier, evidence.evaluation.gallery)
    for n in range(len(evidence.image)):
        query = [part[n : n + 1] for part in (evidence.image, evidence.label, evidence.ids)]
        yield query, check._plant(original, *query, delta, evidence.evaluation.budget)


def test_an_honest_attack_passes(attacked):
    found = BinarizationTest()(attacked([PGD(steps=50, objective=SoftKNN())], WHITE))
    assert found.verdict == "pass"
    assert found.sentence.startswith("100 % found under white box late at a mean Δ of 0.0")
    assert "PGD-soft-kNN 100 %" in found.sentence


@pytest.mark.parametrize(
    "attack",
    [
        PGD(steps=1, step_size=0.1, objective=SoftKNN()),  # too short to get there
        PGD(steps=30, objective=FeatureSpace()),  # away from the image, but to nowhere
        RandomNoise(objective=DefenseMargin()),
    ],
    ids=["lazy", "aimless", "random"],
)
def test_an_attack_that_cannot_find_it_fails(attacked, attack):
    found = BinarizationTest()(attacked([attack], WHITE))
    assert found.verdict == "fail"
    assert "give it more steps" in found.sentence


def test_the_planted_point_is_wrong_within_the_budget_and_the_image_is_right(attacked):
    evidence = attacked([PGD(objective=SoftKNN())], WHITE)
    for (image, label, _), plot in plots(evidence, BinarizationTest()):
        assert 0.05 < float(RELATIVE_L2.realized(image, plot.point)) <= 0.1 * (1 + 1e-5)
        assert 0 <= float(plot.point.min()) <= float(plot.point.max()) <= 1
        assert _is_wrong(plot.surrogate_defense, plot.point, label)
        assert not _is_wrong(plot.surrogate_defense, image, label)
        votes = plot.surrogate_defense.gallery._vote
        assert votes[0] != label
        assert (votes[1:] == label).all()
        assert plot.surrogate_defense.k == 1


def test_random_points_find_it_no_more_often_than_by_symmetry(attacked):
    """With one inner point half of them would, but for the image's own row; with 63 one in 64."""
    evidence = attacked([PGD(objective=SoftKNN())], WHITE, images=32)
    for inner, most in ((1, 0.6), (63, 0.05)):
        wrong = [
            _is_wrong(plot.surrogate_defense, plot.control, label)
            for (_, label, _), plot in plots(evidence, BinarizationTest(inner=inner))
        ]
        share = float(torch.cat(wrong).float().mean())
        assert share < most
        assert share > 0.2 or inner > 1
    found = BinarizationTest(inner=1)(attacked([PGD(steps=1, objective=SoftKNN())], WHITE, images=32))
    assert found.verdict == "warn"
    assert "random images find it" in found.sentence


def test_each_image_is_tried_as_if_it_were_alone(attacked):
    evidence = attacked([PGD(steps=5, objective=TargetCentroid())], WHITE, images=6)
    ((threat, attack),) = evidence.evaluation.cases
    together = BinarizationTest()._trial(evidence, threat, [attack], 0.1)
    alone = [
        BinarizationTest()
        ._trial(
            dataclasses.replace(
                evidence, **{part: getattr(evidence, part)[n : n + 1] for part in ("image", "label", "ids")}
            ),
            threat,
            [attack],
            0.1,
        )
        .found
        for n in (3, 1, 0, 5, 2, 4)
    ]
    assert together.found == pytest.approx(sum(alone) / 6)


def test_an_image_is_found_if_any_attack_of_the_threat_finds_it(attacked):
    honest, lazy = (PGD(steps=steps, objective=SoftKNN(), name=str(steps)) for steps in (50, 1))
    assert BinarizationTest()(attacked([lazy, honest], WHITE, images=4)).verdict == "pass"


def test_an_attack_without_gradients_can_be_asked(attacked):
    found = BinarizationTest()(attacked([Square(queries=20)], WHITE, images=2))
    assert "Square-defense" in found.sentence


def test_without_a_white_box_there_is_nothing_to_find(attacked):
    found = BinarizationTest()(attacked([PGD()]))
    assert found.verdict == "skipped"
    assert "add WhiteBox" in found.sentence


NEAR = KNN(taps=["late"], k=[5], weightings=[UW()])


@pytest.mark.parametrize(
    "defense",
    [
        *(
            FusedKNN(taps=["early", "late"], fusion=[fusion], k=[5], weightings=[UW()])
            for fusion in ("votes", "neighbors", "features")
        ),
        Rejecting(defense=NEAR, threshold=0.9).copies()[0],
        Rejecting(defense=NEAR, confidence="distance", threshold=-20.0).copies()[0],
    ],
    ids=["votes", "neighbors", "features", "agreement", "distance"],
)
def test_several_taps_and_rejection_are_tested(attacked, defense):
    threat = WhiteBox(defense=defense)
    evidence = attacked([PGD(steps=40, objective=SoftKNN())], [threat], images=4)
    check = BinarizationTest(inner=127)
    for (image, label, _), plot in plots(evidence, check):
        assert type(plot.surrogate_defense.defense) is type(defense)
        assert _is_wrong(plot.surrogate_defense, plot.point, label)
        assert not _is_wrong(plot.surrogate_defense, image, label)
    found = check(evidence)
    assert found.verdict in ("pass", "warn"), found  # at least half: of a union it has to be nearest at each tap
    assert " found under white box at a mean Δ" in found.sentence
    lazy = attacked([PGD(steps=1, step_size=0.1, objective=SoftKNN())], [threat], images=4)
    assert check(lazy).verdict == "fail"


def test_a_wrong_answer_that_is_rejected_is_not_found(attacked):
    """Too far from the planted row to be accepted, although nothing else is nearer."""
    for distance, found in ((1e-3, 0.0), (1e3, 1.0)):
        threshold = Rejecting(defense=NEAR, confidence="distance", threshold=-distance)
        evidence = attacked([PGD(objective=SoftKNN())], [WhiteBox(defense=threshold.copies()[0])], images=4)
        for (image, label, _), plot in plots(evidence, BinarizationTest()):
            close = image + 0.9 * (plot.point - image)
            assert float(_is_wrong(plot.surrogate_defense, close, label)) == found
            assert _is_wrong(plot.surrogate_defense, plot.point, label)


def test_what_it_cannot_test_is_named(attacked):
    parts = WhiteBox(defense=RandomDatabase(defense=NEAR), name="parts")
    rejecting = Rejecting(defense=RandomDatabase(defense=NEAR), threshold=0.5)
    others = [parts, WhiteBox(defense=rejecting.copies()[0], name="rejecting_parts")]
    attack = PGD(steps=1, objective=SoftKNN())
    found = BinarizationTest()(attacked([attack], [*WHITE, *others], images=2))
    assert found.sentence.endswith("; not tested, as it is no kNN of all rows: parts, rejecting parts")
    assert "found under white box late" in found.sentence
    found = BinarizationTest()(attacked([attack], [parts], images=2))
    assert found.verdict == "skipped"
    assert found.sentence.endswith("; not tested, as it is no kNN of all rows: parts")


def test_the_middle_delta_is_taken_unless_one_is_given(attacked):
    evidence = attacked([PGD(steps=1, objective=SoftKNN())], WHITE, deltas=(0.01, 0.1, 0.4), images=2)
    for check, expected in ((BinarizationTest(), 0.1), (BinarizationTest(delta=0.02), 0.02)):
        told = float(check(evidence).sentence.split("mean Δ of ")[1].split()[0])
        assert 0.5 * expected < told <= expected


def test_in_another_norm_it_lies_on_the_surface_of_that_ball(attacked):
    evidence = attacked([PGD(steps=50, objective=SoftKNN())], WHITE, deltas=(32 / 255,), norm="linf", images=4)
    for (image, _, _), plot in plots(evidence, BinarizationTest(), 32 / 255):
        assert 0.9 * 32 / 255 < float((plot.point - image).abs().max()) <= 32 / 255 + 1e-7
    found = BinarizationTest()(evidence)
    assert found.verdict == "pass"
    assert "at a mean L∞ of 0.12" in found.sentence
    with pytest.raises(UserError, match=r"L∞ of 510/255 is outside \(0, 1\]"):
        BinarizationTest(delta=2)(evidence)
    with pytest.raises(UserError, match=r"BinarizationTest\.delta: 'a' is no size"):
        BinarizationTest(delta="a")


@pytest.mark.parametrize("options", [{"inner": 0}, {"delta": 0.0}, {"passes": 0.4}, {"fails": -0.1}])
def test_settings(options):
    with pytest.raises(UserError, match=next(iter(options))):
        BinarizationTest(**options)
