import pytest
import torch
from torch import nn

from lit_knn.backbones.networks import build, network_name, require_values, unwrapped
from lit_knn.errors import UserError

FILE = """
from torch import nn
def tiny(classes=3): return nn.Sequential(nn.Flatten(), nn.Linear(12, classes))
def number(): return 7
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_every_kind_of_name(file):
    assert build("torchvision/resnet18", {"num_classes": 4}).fc.out_features == 4
    assert build("torch.nn.Identity", {}).__class__ is nn.Identity
    assert build(f"{file}:tiny", {"classes": 5})[1].out_features == 5
    timm = pytest.importorskip("timm")
    assert isinstance(build("timm/test_vit", {"num_classes": 2}), nn.Module), timm.__version__


@pytest.mark.parametrize(
    ("network", "arguments", "sentence"),
    [
        ("torchvision/resnet51", {}, "resnet50"),
        ("timm/resnet51", {}, "near it are"),
        ("torch.nn.Identitty", {}, "Identity"),
        ("nowhere.to.be.found", {}, "cannot be imported"),
        ("resnet50", {}, "torchvision/NAME"),
        ("missing.py:tiny", {}, "does not exist"),
        ("torchvision/resnet18", {"classes": 3}, "classes"),
    ],
)
def test_wrong_names_are_answered_with_what_is_known(network, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        build(network, arguments)


def test_a_function_that_gives_no_network(file):
    with pytest.raises(UserError, match=r"gives a int"):
        build(f"{file}:number", {})
    with pytest.raises(UserError, match="no function 'tinny'; near it are tiny"):
        build(f"{file}:tinny", {})


def test_a_network_without_values_is_refused():
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(UserError, match=r"network mine: '1\.weight' has no values \(lazy modules"):
        require_values(lazy, "mine")
    lazy(torch.zeros(1, 3, 2, 2))
    require_values(lazy, "mine")
    with pytest.raises(UserError, match=r"'1\.weight' has no values \(it is on the meta device"):
        require_values(lazy.to("meta"), "mine")


def test_what_only_makes_a_network_faster_is_taken_off():
    inner = nn.Sequential(torch.compile(nn.Linear(12, 3)), nn.ReLU())
    inner[1].compile()
    for wrapped in (torch.compile(inner), nn.DataParallel(inner), torch.compile(nn.DataParallel(torch.compile(inner)))):
        found = unwrapped(wrapped)
        assert found is inner
        assert isinstance(found[0], nn.Linear)
        assert found[1]._compiled_call_impl is None
    twice = nn.ModuleDict({"a": (layer := torch.compile(nn.ReLU())), "b": layer})
    assert isinstance(unwrapped(twice)["b"], nn.ReLU)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("folder/my_network.py:build", "my_network"),
        ("my_network.py:get_model", "my_network"),
        ("my_network.py:resnet20", "resnet20"),
        ("my_package.nets.Net", "nets"),
        ("my_package.nets.build_small", "build_small"),
        ("torchvision/resnet50", "resnet50"),
        ("timm/resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("build", "build"),
    ],
)
def test_a_function_that_says_nothing_gives_its_file_the_word(network, name):
    assert network_name(network) == name
