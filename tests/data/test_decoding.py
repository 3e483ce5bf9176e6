import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lit_knn.data import ImageError, decode
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "bmp"])
def test_rgb_equals_pillow(kind: str) -> None:
    data = encode(photo(0), kind)
    image = decode(data)
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.permute(1, 2, 0), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "jpg"), ("L", "jpg"), ("L", "png"), ("P", "png"), ("1", "png")])
def test_other_modes_become_rgb(mode: str, kind: str) -> None:
    image = photo(1, mode=mode)
    expected = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    difference = (decode(encode(image, kind)).int() - expected.int()).abs().float()
    assert difference.mean() < (4 if kind == "jpg" else 1e-9)


def test_alpha_is_dropped_and_colors_stay() -> None:
    pixels = np.dstack([np.asarray(photo(2)), np.full((40, 52), 7, np.uint8)])
    np.testing.assert_array_equal(decode(encode(Image.fromarray(pixels))).permute(1, 2, 0), pixels[..., :3])


def test_palette_with_transparency_warns_nobody() -> None:
    image = photo(3, mode="P")
    buffer = io.BytesIO()
    image.save(buffer, "png", transparency=bytes(range(256)))
    np.testing.assert_array_equal(decode(buffer.getvalue()).permute(1, 2, 0), np.asarray(image.convert("RGB")))


def test_16_bit_grey_keeps_its_high_byte() -> None:
    values = np.array([[0, 255, 256], [513, 40_000, 65_535]], dtype=np.uint16)
    assert decode(encode(Image.fromarray(values))).tolist() == [[[0, 0, 1], [2, 156, 255]]] * 3


@pytest.mark.parametrize("largest", [255, 256, 1023, 4095, 65_535])
@pytest.mark.parametrize("kind", [b"P5", b"P2"])
def test_grey_of_any_depth_of_pgm(largest: int, kind: bytes) -> None:
    """Against the format's definition: a sample is a share of the largest value."""
    values = np.linspace(0, largest, 12).astype(int).reshape(3, 4)
    raw = values.astype(">u2" if largest > 255 else "u1").tobytes()
    text = " ".join(map(str, values.ravel())).encode()
    image = decode(kind + b"\n4 3\n%d\n" % largest + (raw if kind == b"P5" else text))
    share = values / largest
    expected = np.floor(share * 65_535 / 256) if largest > 255 else share * 255
    np.testing.assert_allclose(image, np.repeat(expected[None], 3, axis=0), atol=1)
    assert (image[:, 0, 0] == 0).all()
    assert (image[:, -1, -1] == 255).all()


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg2000"])
def test_16_bit_grey_of_other_formats(kind: str, order: str) -> None:
    values = np.random.default_rng(0).integers(0, 65_536, (8, 9)).astype(order)
    image = decode(encode(Image.fromarray(values.astype("<u2") if kind != "tiff" else values), kind))
    np.testing.assert_array_equal(image, np.repeat((values.astype(int) // 256)[None], 3, axis=0))


def test_16_bit_rgb_keeps_its_high_byte() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = zlib.compress(b"\0" + struct.pack(">3H", 0x1234, 0x00FF, 0xFFFF))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    assert decode(data).flatten().tolist() == [0x12, 0x00, 0xFF]


def test_one_pixel() -> None:
    assert decode(encode(Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1]], [[2]], [[3]]]


def test_exif_orientation_is_not_applied() -> None:
    image, exif, buffer = photo(4), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # rotate by 90°
    image.save(buffer, "jpeg", exif=exif)
    assert decode(buffer.getvalue()).shape == (3, 40, 52)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "not an image"),
        (encode(photo(5), "jpg")[:-200], "cut short"),
        (encode(photo(5), "png")[:-200], "cut short"),
        (encode(photo(5), "webp")[:-200], "damaged or"),
        (encode(Image.fromarray(np.ones((2, 2), np.float32)), "tiff"), "mode F"),
        (encode(Image.fromarray(np.ones((2, 2), np.int32)), "tiff"), "more than 16 bits or with a sign"),
    ],
)
def test_bad_bytes(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="absurdly large"):
        decode(encode(photo(6)))


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff", "bmp", "ppm"])
@pytest.mark.filterwarnings("ignore")  # Pillow may warn about what it finds
def test_noise_raises_nothing_but_image_errors(kind: str) -> None:
    data, generator = encode(photo(7), kind), np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        broken = bytearray(data)[: generator.integers(1, len(data) + 1)]
        for place in generator.integers(0, len(broken), 3):
            broken[place] = generator.integers(0, 256)
        try:
            assert decode(bytes(broken)).dtype == torch.uint8
        except ImageError:
            refused += 1
    assert refused > 0
