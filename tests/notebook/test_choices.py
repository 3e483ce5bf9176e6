import pytest
import timm
import torch
from torch import nn
from torchvision import models

from lit_knn.attacks import FGSM
from lit_knn.backbones.digits import digits_resnet
from lit_knn.errors import UserError
from lit_knn.notebook.choices import attacks_of, classifier_of, device_of, middle_tap, threats_of
from lit_knn.threat_models import GrayBox, WhiteBox


class Convolutions(nn.Sequential):
    def __init__(self, *more):
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), *more)


LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 10))


@pytest.mark.parametrize(
    ("network", "side", "layer", "pool"),
    [
        (digits_resnet(), 8, "layer2.1.add", 2),  # 64 channels of 2×2: the quickstart's middle
        (models.resnet18(), 64, "layer3.0.add", 2),  # 256 channels: 2×2 of them are 1,024 numbers
        (Convolutions(nn.Linear(6 * 4 * 4, 10)), 8, "2", 4),
        (LINEAR, 8, "0", 1),  # the pixels, as nothing else is there
        (timm.create_model("test_vit"), 160, "blocks.3", 1),  # timm's cannot be traced
        (models.vgg11(), 32, "features.10", 2),
        (models.SwinTransformer([2, 2], 12, [2, 2], [1, 1], [4, 4]), 32, "features.3.0.add", 1),
    ],
    ids=["digits", "resnet18", "convolutions", "linear", "vit", "vgg", "swin"],
)
def test_the_middle_of_a_network(network, side, layer, pool):
    image = torch.rand(1, 3, side, side)
    classifier = classifier_of(network, 0.5, 0.5)
    tap = middle_tap(classifier, image)
    assert (tap.layer, tap.pool) == (layer, pool)
    _, features = classifier.tapped(image, [tap])
    assert features[tap.name].shape[1] <= 1024


class Nothing(nn.Module):
    def forward(self, image):
        return image[:, 0, 0, :2]


def test_a_network_without_layers():
    with pytest.raises(UserError, match="no layer to tap by itself: give tap="):
        middle_tap(classifier_of(Nothing(), 0.5, 0.5), torch.rand(2, 3, 8, 8))


def test_the_network_itself_is_not_held():
    network = digits_resnet().train()
    classifier = classifier_of(network, 0.5, 0.5)
    assert network.training
    assert not {id(part) for part in network.parameters()} & {id(part) for part in classifier.parameters()}
    image = torch.rand(4, 3, 8, 8)
    assert torch.allclose(classifier(image), network.eval()((image - 0.5) / 0.5), atol=1e-5)


def test_who_says_how_images_are_normalized():
    network = timm.create_model("test_vit")  # in timm's configuration
    assert classifier_of(network, None, None).mean.flatten().tolist() == [0.5] * 3
    assert classifier_of(network, None, None).warnings == []
    assert classifier_of(network, 0, 1).mean.flatten().tolist() == [0.0] * 3
    plain = classifier_of(digits_resnet(), None, None)
    assert torch.equal(
        plain.normalize(torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))),
        torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)),
    )
    assert len(plain.warnings) == 1
    channels = classifier_of(digits_resnet(), [0.1, 0.2, 0.3], [1, 2, 3])
    assert torch.allclose(channels.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))


def test_a_network_that_cannot_be_copied():
    network = digits_resnet()
    network.kept = network.fc.weight * 2  # a part of a graph
    with pytest.raises(UserError, match="cannot be copied, and must not be changed: RuntimeError"):
        classifier_of(network, 0.5, 0.5)


def names(threats):
    return [threat.name for threat in threats]


def test_who_attacks():
    other = classifier_of(digits_resnet(), 0.5, 0.5)
    assert names(threats_of(None, None, False)) == ["gray_box"]
    assert names(threats_of(None, None, True)) == ["gray_box", "white_box"]
    assert names(threats_of(None, other, True)) == ["gray_box", "black_box", "white_box"]
    mine = WhiteBox(overlap=0, name="mine")
    assert names(threats_of(["gray", mine], None, True)) == ["gray_box", "mine"]
    with pytest.raises(UserError, match="no black box attacks it"):
        threats_of(["gray"], other, True)


def test_with_what():
    assert [attack.name for attack in attacks_of(None, [GrayBox(), WhiteBox()])] == ["PGD", "PGD-soft-kNN"]
    assert [attack.name for attack in attacks_of(None, [WhiteBox()])] == ["PGD-soft-kNN"]
    assert [attack.name for attack in attacks_of([FGSM()], [GrayBox()])] == ["FGSM"]


def test_where():
    assert device_of(digits_resnet(), None) == torch.device("cpu")
    assert device_of(Nothing(), None) == torch.device("cpu")
    assert device_of(digits_resnet().to("meta"), None) == torch.device("meta")
    with pytest.raises(UserError, match="device 'nowhere' is not there"):
        device_of(digits_resnet(), "nowhere")
