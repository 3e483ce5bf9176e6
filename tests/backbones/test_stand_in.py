import torch

from lit_knn.backbones.networks import build
from lit_knn.backbones.stand_in import stand_in
from lit_knn.backbones.state_hash import state_hash


def test_nothing_is_downloaded_and_shapes_are_those_of_the_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something was downloaded")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    before = torch.get_rng_state()
    found = stand_in("torchvision/resnet18", {"weights": "IMAGENET1K_V1", "num_classes": 1000}, "")
    assert torch.equal(torch.get_rng_state(), before)
    shapes = {name: value.shape for name, value in found.state_dict().items()}
    assert shapes == {name: value.shape for name, value in build("torchvision/resnet18", {}).state_dict().items()}


def test_it_is_told_from_others_by_what_would_be_loaded():
    def weights(*given):
        return state_hash(stand_in("torch.nn.Linear", {"in_features": 2, "out_features": 2}, *given), "")

    assert weights("a.pth") == weights("a.pth")
    assert weights("a.pth") != weights("b.pth")
    assert state_hash(stand_in("torchvision/resnet18", {"weights": "V1"}, ""), "") != state_hash(
        stand_in("torchvision/resnet18", {}, ""), ""
    )
