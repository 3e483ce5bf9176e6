import pytest
import torch
from torch import nn

from lit_knn.backbones.networks import build, load_weights
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


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_dicts_as_people_save_them(tmp_path, wrap, prefix):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save(wrap({prefix + name: value for name, value in source.state_dict().items()}), tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert torch.equal(source.weight, target.weight)


def test_weights_that_do_not_fit_or_are_none(tmp_path):
    network = nn.Linear(3, 2)
    with pytest.raises(UserError, match="do not exist"):
        load_weights(network, tmp_path / "none.pth")
    torch.save(nn.Linear(4, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match="do not fit the network: size mismatch for weight"):
        load_weights(network, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="hold a list"):
        load_weights(network, tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:300])
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(network, tmp_path / "cut.pth")


def test_nothing_pickled_is_run(tmp_path):
    torch.save(nn.Linear(3, 2), tmp_path / "module.pth")  # a whole pickled module, not a state dict
    with pytest.raises(UserError, match="weights_only=True"):
        load_weights(nn.Linear(3, 2), tmp_path / "module.pth")
