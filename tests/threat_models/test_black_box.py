import pytest
import torch
from torch import nn

from lit_knn.backbones import Ensemble
from lit_knn.defenses import NoDefense
from lit_knn.errors import UserError
from lit_knn.threat_models import BlackBox, GrayBox


def test_it_attacks_the_surrogate_and_knows_no_defense():
    defended, surrogate = nn.Flatten(), nn.Identity()
    threat = BlackBox(surrogates=[surrogate])
    assert threat.attacked(defended) is surrogate
    assert not threat.adaptive
    assert threat.against([NoDefense()]) == [threat]
    assert threat.surrogate_defense(defended, None) is None
    assert threat.transfers([NoDefense()])


def test_its_name_tells_it_from_another():
    assert BlackBox(surrogates=[nn.Identity()]).name == "black_box"
    assert BlackBox(surrogates=[nn.Identity()], name="black_box_vgg").name == "black_box_vgg"


def test_several_surrogates_are_attacked_as_one():
    members = [nn.Flatten(), nn.Flatten()]
    attacked = BlackBox(surrogates=members).attacked(nn.Flatten())
    assert isinstance(attacked, Ensemble)
    assert list(attacked.members) == members
    with pytest.raises(UserError, match="at least one network"):
        BlackBox(surrogates=[])


def test_surrogates_move_with_the_module_that_holds_the_threat():
    single, several = (BlackBox(surrogates=[nn.Linear(2, 2) for _ in range(n)]) for n in (1, 2))
    holder = nn.ModuleList([GrayBox(), single, several]).double()
    assert {parameter.dtype for parameter in holder.parameters()} == {torch.float64}
    assert len(list(holder.parameters())) == 6
