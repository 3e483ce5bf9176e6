import importlib.util
from importlib import resources
from pathlib import Path

import pytest
import torch

from lit_knn.backbones import Classifier
from lit_knn.backbones.digits import digits_resnet, digits_surrogate
from lit_knn.backbones.taps import Tap
from lit_knn.data import Digits, ImageData

TOOL = Path(__file__).parents[2] / "tools" / "train_digits.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("train_digits", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_packaged_weights_are_small():
    files = list((resources.files("lit_knn.backbones") / "weights").iterdir())
    assert {file.name for file in files} == {"digits_resnet.pth", "digits_surrogate.pth"}
    assert sum(len(file.read_bytes()) for file in files) <= 600_000


@pytest.mark.parametrize("build", [digits_resnet, digits_surrogate])
def test_accuracy_on_images_that_training_never_saw(build):
    data = ImageData(queries=Digits(split="test"), batch_size=500)
    batch = data.on_after_batch_transfer(next(iter(data.test_dataloader())))
    with torch.no_grad():
        logits = build().eval()((batch["image"] - 0.5) / 0.5)
    assert len(logits) == 500
    assert (logits.argmax(1) == batch["label"]).float().mean() >= 0.97


def test_the_surrogate_is_another_network():
    first, second = digits_resnet().state_dict(), digits_surrogate().state_dict()
    assert len(second) < len(first)
    assert not any(torch.equal(first[name], value) for name, value in second.items() if name.endswith("conv1.weight"))


def test_the_taps_of_the_quickstart():
    image = torch.rand(2, 3, 8, 8)
    taps = [Tap("layer1.0.add", pool=4), Tap("layer2.1.add", pool=2), Tap("layer3.1.add")]
    _, found = Classifier(network="lit_knn.backbones.digits.digits_resnet").tapped(image, taps)
    assert [tuple(rows.shape) for rows in found.values()] == [(2, 32 * 16), (2, 64 * 4), (2, 128)]
    assert all((rows < 0).any() for rows in found.values())  # before the block's last ReLU


def test_training_with_one_seed_gives_the_same_weights(tool):
    def trained(seed):
        network = digits_surrogate(pretrained=False)
        tool.train(network, epochs=3, seed=seed)
        return network

    first, again, other = trained(0), trained(0), trained(1)
    assert not first.training
    assert all(torch.equal(first.state_dict()[name], value) for name, value in again.state_dict().items())
    assert not torch.equal(first.fc.weight, other.fc.weight)
    assert tool.accuracy(first) > 0.5  # even three epochs learn something


def test_the_tool_trains_on_the_training_split_alone(tool):
    train, test = (tool.images(split)[0].flatten(1) for split in ("train", "test"))
    assert (len(train), len(test)) == (1297, 500)
    assert not (torch.cdist(test, train) == 0).any()
