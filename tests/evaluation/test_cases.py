import pytest
from torch import nn

from lit_knn.attacks import PGD, Square
from lit_knn.attacks.objectives import DefenseMargin, FeatureSpace
from lit_knn.defenses import NoDefense
from lit_knn.errors import UserError
from lit_knn.evaluation.cases import pair
from lit_knn.threat_models import BlackBox, GrayBox, WhiteBox

GRAY, BLACK, WHITE = GrayBox(), BlackBox(surrogates=[nn.Identity()]), WhiteBox(defense=NoDefense())
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
        ([GRAY, WHITE], [PLAIN], "threat white_box has nothing to do.* looks at the defense"),
        ([GRAY, WHITE], [AWARE], "threat gray_box has nothing to do.* without a copy of the defense"),
    ],
)
def test_nobody_is_left_alone(threats, attacks, message):
    with pytest.raises(UserError, match=message):
        pair(threats, attacks)
