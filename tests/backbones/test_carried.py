import pytest
import torch

from lit_knn.backbones import Classifier
from lit_knn.backbones.carried import Normalization, carried, is_normalization
from lit_knn.backbones.digits import digits_surrogate
from lit_knn.errors import UserError
from tests.conftest import SURROGATE

MEAN, STD = [0.5, 0.25, 0.75], [0.25, 0.5, 0.125]
NETWORK = "lit_knn.backbones.digits.digits_surrogate"


def pair(mean="mean", std="std", shape=(3,), scale=1):
    return {mean: torch.tensor(MEAN).view(shape) * scale, std: torch.tensor(STD).view(shape) * scale}


@pytest.mark.parametrize(
    "tensors",
    [
        pair(),
        pair("mu", "sigma", (1, 3, 1, 1)),
        pair("normalize.mean", "normalize.std", (3, 1, 1)),
        pair("module.normalizer.new_mean", "module.normalizer.new_std"),
        {**pair("0.mean", "0.std"), **pair("ema.0.mean", "ema.0.std")},
    ],
)
def test_mean_and_std_are_found_wherever_they_lie(tensors):
    assert carried(tensors | {"fc.bias": torch.zeros(10)}) == Normalization(tuple(MEAN), tuple(STD))


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"mean": torch.tensor(MEAN)},
        pair("a.mean", "b.std"),
        pair(scale=255),
        {"mean": torch.rand(64), "std": torch.rand(64)},
        {**pair("a.mean", "a.std"), "b.mean": torch.zeros(3), "b.std": torch.ones(3)},
    ],
)
def test_what_is_none_or_not_the_only_one(tensors):
    assert carried(tensors) is None


def test_names_and_shapes():
    assert is_normalization("model.mu", torch.zeros(1, 3, 1, 1))
    assert not is_normalization("model.mu", torch.zeros(4))
    assert not is_normalization("model.running_mean", torch.zeros(3))


@pytest.mark.parametrize(
    ("prefix", "names"),
    [("", ("mu", "sigma")), ("1.", ("0.mean", "0.std")), ("model.", ("normalize.mean", "normalize.std"))],
)
def test_a_robust_model_comes_with_its_own(tmp_path, prefix, names):
    """Files as RobustBench's: a normalization beside the network, or before it as a module."""
    state = {f"{prefix}{name}": value for name, value in digits_surrogate().state_dict().items()}
    torch.save({"state_dict": state | pair(*names)}, tmp_path / "w.pt")
    classifier = Classifier(network=NETWORK, weights=tmp_path / "w.pt")
    image = torch.rand(2, 3, 8, 8)
    normalized = (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(classifier(image), digits_surrogate().eval()(normalized))
    assert not classifier.warnings
    given = Classifier(**SURROGATE, weights=tmp_path / "w.pt")
    assert given.mean.flatten().tolist() == given.std.flatten().tolist() == [0.5] * 3


def test_what_the_network_does_itself_is_not_done_twice(tmp_path):
    (tmp_path / "own.py").write_text("""
import torch
from lit_knn.backbones.digits import digits_surrogate
class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = digits_surrogate(pretrained=False)
        self.register_buffer("mu", torch.zeros(3, 1, 1))
        self.register_buffer("sigma", torch.ones(3, 1, 1))
    def forward(self, x):
        return self.net((x - self.mu) / self.sigma)
""")
    state = {f"net.{name}": value for name, value in digits_surrogate().state_dict().items()}
    torch.save(state | pair("mu", "sigma", (3, 1, 1)), tmp_path / "w.pt")
    classifier = Classifier(network=f"{tmp_path}/own.py:Own", weights=tmp_path / "w.pt")
    assert torch.equal(classifier.network.mu.flatten(), torch.tensor(MEAN))
    assert classifier.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert "does not say how its images are normalized" in classifier.warnings[0]


def test_values_that_are_no_pixels_are_still_refused(tmp_path):
    torch.save(digits_surrogate().state_dict() | pair(scale=255), tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"it has 'mean' .* which the network lacks"):
        Classifier(network=NETWORK, weights=tmp_path / "w.pt")
