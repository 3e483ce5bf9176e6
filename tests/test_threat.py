import pytest
from torch import nn

from lit_knn.threat import BlackBox, GrayBox, Threat


def test_gray_box_attacks_the_defended_network_and_black_box_the_surrogate():
    defended, surrogate = nn.Flatten(), nn.Identity()
    assert GrayBox().attacked(defended) is defended
    assert BlackBox(surrogate=surrogate).attacked(defended) is surrogate


def test_names_tell_surrogates_apart():
    assert GrayBox().name == "gray_box"
    assert BlackBox(surrogate=nn.Identity()).name == "black_box"
    assert BlackBox(surrogate=nn.Identity(), name="black_box_vgg").name == "black_box_vgg"


def test_the_surrogate_moves_with_the_module_that_holds_the_threat():
    holder = nn.ModuleList([GrayBox(), BlackBox(surrogate=nn.Linear(2, 2))])
    assert next(holder.double().parameters()).dtype.itemsize == 8


def test_a_threat_must_say_what_is_attacked():
    with pytest.raises(TypeError, match="abstract"):
        Threat(name="none")


def test_yaml_reaches_threats_by_short_class_names():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--threats", type=list[Threat])
    surrogate = {"network": "torchvision/resnet18"}
    written = [{"class_path": "GrayBox"}, {"class_path": "BlackBox", "init_args": {"surrogate": surrogate}}]
    gray, black = parser.parse_object({"threats": written}).threats
    assert gray.class_path == "lit_knn.threat.GrayBox"
    assert black.init_args.name == "black_box"
    assert black.init_args.surrogate.network == "torchvision/resnet18"
