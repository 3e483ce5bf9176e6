import torch
from torch import nn

from lit_knn.backbones.state_hash import state_hash
from tests.backbones import own_networks as own


def build():
    torch.manual_seed(0)
    return own.Small()


def test_only_what_the_weights_are_counts():
    reference = state_hash(build(), "")
    assert len(reference) == 16
    same = build().to(memory_format=torch.channels_last)
    assert state_hash(same, "") == reference
    assert state_hash(nn.Sequential(same)[0], "") == reference
    assert state_hash(build().double(), "") == reference


def test_any_bit_name_shape_and_the_text_count():
    reference = state_hash(build(), "")
    for name in build().state_dict():
        changed = build()
        changed.state_dict()[name].view(-1).view(torch.uint8)[0] ^= 1
        assert state_hash(changed, "") != reference, name
    assert state_hash(nn.Sequential(build()), "") != reference
    assert state_hash(build(), "other") != reference
    flat, square = nn.Module(), nn.Module()
    flat.register_buffer("x", torch.zeros(4))
    square.register_buffer("x", torch.zeros(2, 2))
    assert state_hash(flat, "") != state_hash(square, "")
