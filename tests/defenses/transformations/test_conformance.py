"""What every transformation promises, its flags included."""

import pytest
import torch

from lit_knn.database import PatchDatabase
from lit_knn.defenses import BPDA, JPEG, BitDepth, GridCrop, Quilting, RandomCrop, TotalVariation, transformations
from lit_knn.randomness import Randomness
from tests.defenses.transformations.conftest import Cropped, Enlarged, Noisy


def patches():
    """Return patches of 3×3 pixels, which a run would draw from a database."""
    database = PatchDatabase(count=300, size=3)
    database.hold(torch.rand(300, 27, generator=torch.Generator().manual_seed(0)).numpy())
    return database


KINDS = [
    Quilting(patches=patches(), overlap=1),
    BPDA(transformation=Quilting(patches=patches(), k=1, overlap=1)),
    *(BitDepth(), BitDepth(quantizer="guo"), BitDepth(quantizer="athalye")),
    *(RandomCrop(), GridCrop(), JPEG()),
    *(TotalVariation(), TotalVariation(per_channel=False, isotropic=False), TotalVariation(keep=1)),
    BPDA(transformation=BitDepth()),
    *(Noisy(), Cropped(), Enlarged()),
    *(BPDA(transformation=kind) for kind in (Noisy(), Cropped(), Enlarged())),
]
IDS = torch.tensor([4, 1, 7, 9, 2])


@pytest.fixture(params=KINDS, ids=lambda kind: f"{type(kind).__name__} {kind.name}")
def transformation(request):
    return request.param


def test_no_transformation_is_left_out():
    assert {type(kind).__name__ for kind in KINDS} >= {*transformations.__all__} - {
        "Transformation",
        "TransformedClassifier",
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_image_is_changed_on_its_own(transformation, dtype):
    image = torch.rand(5, 3, 8, 9, dtype=dtype)
    found = transformation(image, Randomness(0, IDS))
    assert found.dtype == dtype
    for rows in ([2], [4, 3, 0]):
        assert torch.equal(transformation(image[rows], Randomness(0, IDS[rows])), found[rows])


def test_the_flags_are_true(transformation):
    image = torch.rand(5, 3, 8, 9, requires_grad=True)
    found, other = (transformation(image, Randomness(seed, IDS)) for seed in (0, 1))
    assert torch.equal(found, other) is not transformation.random
    assert (found.shape == image.shape) is transformation.keeps_size
    if transformation.differentiable:
        (gradient,) = torch.autograd.grad(found.sum(), image)
        assert gradient.flatten(1).abs().amax(dim=1).gt(0).all()
