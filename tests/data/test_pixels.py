import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lit_knn.data import ImageError
from lit_knn.data.pixels import pixels, unit
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo

BYTES = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
FLOATS = np.random.default_rng(1).random((5, 7, 3))


def test_encoded_images_and_uint8_stay_as_they_are() -> None:
    data = encode(photo(0))
    np.testing.assert_array_equal(pixels(data, "x").permute(1, 2, 0), np.asarray(Image.open(io.BytesIO(data))))
    for array in (
        BYTES,
        BYTES[::-1, :, ::-1],
        np.asfortranarray(BYTES),
        np.frombuffer(BYTES, np.uint8).reshape(5, 7, 3),
    ):
        found = pixels(array, "x")
        assert found.dtype == torch.uint8
        np.testing.assert_array_equal(found.permute(1, 2, 0), array)


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "f8"])
def test_floats_become_float32_and_nothing_else(dtype: str) -> None:
    array = FLOATS.astype(dtype)
    array[0, 0, :2] = 0, 1
    found = pixels(array, "x")
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.permute(1, 2, 0), array.astype(np.float32))
    assert unit(found) is found


def test_only_uint8_is_divided() -> None:
    np.testing.assert_array_equal(unit(torch.arange(256, dtype=torch.uint8)), np.arange(256, dtype=np.float32) / 255)


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (BYTES[..., :1], r"uint8 \(5, 7, 1\)"),
        (BYTES[..., 0], r"uint8 \(5, 7\)"),
        (BYTES.transpose(2, 0, 1), r"uint8 \(3, 5, 7\)"),
        (np.concatenate([BYTES, BYTES[..., :1]], -1), r"uint8 \(5, 7, 4\)"),
        (BYTES[None], r"uint8 \(1, 5, 7, 3\)"),
        (BYTES[:0], r"uint8 \(0, 7, 3\)"),
        (BYTES.astype(np.int64), r"int64 \(5, 7, 3\)"),
        (BYTES > 9, r"bool \(5, 7, 3\)"),
        (torch.from_numpy(BYTES), "of type Tensor"),
        (photo(0), "of type Image"),
    ],
)
def test_other_types_and_shapes_are_refused(image: Any, what: str) -> None:
    with pytest.raises(
        UserError, match=rf"^x is {what}: accepted are encoded bytes, or an array \(H, W, 3\)"
    ) as caught:
        pixels(image, "x")
    assert not isinstance(caught.value, ImageError)  # every image of the source is: none is to be skipped


@pytest.mark.parametrize("value", [255.0, -0.01, 1.001, np.nan, np.inf])
def test_other_floats_are_refused(value: float) -> None:
    array = FLOATS.astype(np.float32)
    array[4, 2, 1] = value
    with pytest.raises(ImageError, match=r"its pixels reach from .* to .*: accepted are floats in \[0, 1\]"):
        pixels(array, "x")


def test_a_pixel_just_above_one_is_not_called_one() -> None:
    with pytest.raises(ImageError, match=r"to 1\.00000012: accepted"):
        pixels(np.full((2, 2, 3), np.nextafter(np.float32(1), np.float32(2))), "x")
