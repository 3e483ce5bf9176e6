import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lit_knn.backbones.resizing import Resizing
from lit_knn.errors import UserError


@pytest.mark.parametrize("size", [(9, 5), (32, 32), (64, 17), (17, 24)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_pytorchs_antialiased_resize_with_its_gradient(size, dtype):
    image = torch.rand(3, 3, 17, 24, dtype=dtype, requires_grad=True)
    found, expected = Resizing(size)(image), F.interpolate(image, size, mode="bilinear", antialias=True)
    torch.testing.assert_close(found, expected)
    weight = torch.rand_like(found)
    (one,), (other,) = (torch.autograd.grad((value * weight).sum(), image) for value in (found, expected))
    torch.testing.assert_close(one, other)
    assert found.dtype == dtype


@pytest.mark.parametrize("side", [8, 50])
def test_it_is_pils_bilinear_resize(side):
    image = torch.rand(1, 3, 24, 17)
    theirs = [Image.fromarray(plane.numpy()).resize((side, side), Image.Resampling.BILINEAR) for plane in image[0]]
    np.testing.assert_allclose(Resizing(side)(image)[0], np.stack(theirs), atol=1e-5)


def test_what_has_the_size_or_any_size_is_not_touched():
    image = torch.rand(2, 3, 8, 8)
    assert Resizing(None)(image) is Resizing(8)(image) is Resizing([8, 8])(image) is image
    assert (str(Resizing(None)), str(Resizing(8)), Resizing([8, 9]).size) == ("", " at 8×8", (8, 9))


def test_what_was_resized_without_gradients_does_not_matter_later():
    image = torch.rand(2, 3, 11, 13)
    with torch.inference_mode():
        Resizing(7)(image)
    point = image.clone().requires_grad_()
    Resizing(7)(point).sum().backward()
    torch.testing.assert_close(point.grad.sum(), torch.tensor(2 * 3 * 49.0))


@pytest.mark.parametrize("size", [0, [8], [8, -1], [8, 8, 8]])
def test_sizes_that_there_are_none_of(size):
    with pytest.raises(UserError, match="accepted are one number of pixels from 1, or height and width"):
        Resizing(size)
