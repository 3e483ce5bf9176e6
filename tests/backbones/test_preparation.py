import pytest
from torch import nn
from torchvision.models import ResNet50_Weights, Swin_T_Weights

from lit_knn.backbones.preparation import Preparation, has_random_weights, own_preparation
from lit_knn.data.preprocessing import Preprocessing

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_vit", "test_convnext", "resnet18"])
def test_of_timm_it_is_what_timm_would_do(name):
    timm = pytest.importorskip("timm")
    network = timm.create_model(name)
    found = own_preparation("mine.py:network", {}, network)  # whoever has built it
    theirs = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**theirs)
    assert (found.mean, found.std, found.interpolation) == (theirs["mean"], theirs["std"], theirs["interpolation"])
    assert found.crop == tuple(theirs["input_size"][1:])
    assert found.resize == transform.transforms[0].size


@pytest.mark.parametrize(
    ("name", "given", "weights"),
    [
        ("resnet50", "IMAGENET1K_V1", ResNet50_Weights.IMAGENET1K_V1),
        ("resnet50", "DEFAULT", ResNet50_Weights.IMAGENET1K_V2),
        ("swin_t", "Swin_T_Weights.IMAGENET1K_V1", Swin_T_Weights.IMAGENET1K_V1),
        ("swin_t", Swin_T_Weights.IMAGENET1K_V1, Swin_T_Weights.IMAGENET1K_V1),
    ],
)
def test_of_torchvisions_weights_it_is_their_transforms(name, given, weights):
    found, theirs = own_preparation(f"torchvision/{name}", {"weights": given}, nn.Identity()), weights.transforms()
    assert (list(found.mean), list(found.std)) == (theirs.mean, theirs.std)
    assert found.crop == (theirs.crop_size[0], theirs.crop_size[0])
    assert found.resize == theirs.resize_size[0]
    assert found.interpolation == theirs.interpolation.value


def test_of_others():
    found = own_preparation("torchvision/resnet50", {}, nn.Identity())
    assert (found.mean, found.std) == IMAGENET
    assert found.crop is found.resize is found.interpolation is None
    assert own_preparation("mine.py:network", {"weights": "DEFAULT"}, nn.Identity()) is None


@pytest.mark.parametrize(
    ("preprocessing", "size", "differences"),
    [
        (None, (224, 224), []),
        (None, (32, 32), ["32×32 pixels for 224×224"]),
        (Preprocessing(resize=256, crop=224, interpolation="bicubic"), (224, 224), []),
        (Preprocessing(crop=224), (224, 224), []),  # nothing is resized
        (
            Preprocessing(resize=224, crop=224),
            (224, 224),
            ["resize: 224 for 256", "bilinear interpolation for bicubic"],
        ),
    ],
)
def test_differences_are_named_as_far_as_both_are_known(preprocessing, size, differences):
    own = Preparation("somebody", *IMAGENET, crop=(224, 224), resize=256, interpolation="bicubic")
    assert list(own.differences(size, preprocessing)) == differences
    assert not list(Preparation("nobody").differences(size, preprocessing))


@pytest.mark.parametrize(
    ("network", "arguments", "random"),
    [
        ("torchvision/resnet18", {}, True),
        ("torchvision/resnet18", {"weights": None, "num_classes": 10}, True),
        ("torchvision/resnet18", {"weights": "DEFAULT"}, False),
        ("timm/resnet18", {"pretrained": False}, True),
        ("timm/resnet18", {"pretrained": True}, False),
        ("timm/resnet18", {"checkpoint_path": "w.pth"}, False),
        ("mine.py:network", {}, False),  # nobody knows
    ],
)
def test_which_networks_have_no_weights(network, arguments, random):
    assert has_random_weights(network, arguments) == random
