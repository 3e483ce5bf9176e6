import pytest
from torch import nn

from lit_knn.attacks import PGD, Square
from lit_knn.attacks.objectives import EOT, DefenseMargin, FeatureSpace
from lit_knn.defenses import KNN, BitDepth, DeepKNN, NoDefense, TransformedClassifier
from lit_knn.errors import UserError
from lit_knn.evaluation import cases as cases_module
from lit_knn.evaluation.cases import idle, pair
from lit_knn.threat_models import BlackBox, GrayBox, WhiteBox

GRAY, BLACK, WHITE = GrayBox(), BlackBox(surrogates=[nn.Identity()]), WhiteBox(defense=KNN(taps=["late"]))
PLAIN, AWARE, FREE = PGD(), PGD(objective=FeatureSpace()), Square(objective=DefenseMargin())


def test_who_knows_the_defense_runs_the_attacks_that_look_at_it_and_only_these():
    assert pair([GRAY, BLACK, WHITE], [PLAIN, AWARE, FREE]) == [
        (GRAY, PLAIN),
        (BLACK, PLAIN),
        (WHITE, AWARE),
        (WHITE, FREE),
    ]


@pytest.mark.parametrize(
    ("threats", "attacks", "message"),
    [
        ([GRAY], [PLAIN, AWARE], "attack PGD-FS needs a threat .* add WhiteBox"),
        ([WHITE], [PLAIN, AWARE], "attack PGD needs a threat .* add GrayBox or BlackBox"),
        ([GRAY, WHITE], [PLAIN], "threat white_box has nothing to do.* looks at the defense that it copies"),
        ([GRAY, WHITE], [AWARE], "threat gray_box has nothing to do.* without a copy of the defense"),
    ],
)
def test_nobody_is_left_alone(threats, attacks, message):
    with pytest.raises(UserError, match=message):
        pair(threats, attacks)


def test_an_attack_on_the_defense_runs_where_it_fits():
    rounded = TransformedClassifier(transformation=BitDepth())
    (copied,) = WhiteBox().against([NoDefense(), rounded])
    hidden = WhiteBox(defense=rounded, name="hidden")
    climbing, averaging = PGD(objective=DefenseMargin()), PGD(objective=EOT(objective=DefenseMargin()))
    threats = [WHITE, copied, hidden]
    cases = pair(threats, [AWARE, FREE, climbing, averaging])
    assert [(threat.name, attack.name) for threat, attack in cases] == [
        ("white_box", "PGD-FS"),
        ("white_box", "Square-defense"),
        ("white_box 3-bit", "Square-defense"),
        ("white_box 3-bit", "PGD-defense"),
        ("white_box 3-bit", "PGD-EOT-defense"),
        ("hidden", "Square-defense"),
    ]
    assert idle(threats, cases) == []


def test_what_fits_nothing_is_left_out_and_named(monkeypatch):
    said = []
    monkeypatch.setattr(cases_module, "rank_zero_info", said.append)
    (copied,) = WhiteBox().against([TransformedClassifier(transformation=BitDepth())])
    cases = pair([WHITE, copied], [AWARE])
    assert cases == [(WHITE, AWARE)]
    (sentence,) = idle([WHITE, copied], cases)
    assert sentence.startswith("no attack of the evaluation fits threat white_box 3-bit")
    pair([WHITE], [AWARE, PGD(objective=DefenseMargin(), name="climb")])
    assert said == ["Attack climb fits no defense of this run and is left out."]


def test_a_gradient_that_nobody_speaks_of_is_tried_where_a_user_names_the_defense():
    class Own(TransformedClassifier):
        differentiable = None

        def __init__(self):
            super().__init__(transformation=BitDepth())
            self.differentiable = None

        def copies(self):
            return [self]

    climbing = PGD(objective=DefenseMargin())
    (found,) = WhiteBox().against([Own()])
    named = WhiteBox(defense=Own(), name="named")
    assert pair([found, named], [climbing, FREE]) == [(found, FREE), (named, climbing), (named, FREE)]


def test_who_attacks_what_stands_in_for_a_defense_knows_it():
    """No attack with gradients fits a deep kNN itself; that on the vote of its neighbors is one on it."""
    deep, rounded = DeepKNN(taps=["early", "late"], k=5), TransformedClassifier(transformation=BitDepth())
    vote, own, image = threats = WhiteBox().against([NoDefense(), deep, rounded])
    cases = pair(threats, [AWARE])
    assert cases == [(vote, AWARE)]
    assert [sorted(threat.of) for threat in (own, vote, image)] == [[1], [1], [2]]
    (sentence,) = idle(threats, cases)
    assert "white_box 3-bit" in sentence
    fewer = [own, image]
    assert len(idle(fewer, [])) == 2
