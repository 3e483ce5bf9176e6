"""Images and tar files, made on the spot."""

import io
import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def photo(seed: int, height: int = 40, width: int = 52, mode: str = "RGB") -> Image.Image:
    """Something smooth, so that JPEG and resizing have something to keep."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, {"jpg": "jpeg"}.get(kind, kind))
    return buffer.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(first: int, count: int, **size: int) -> dict[str, bytes]:
    """Members of `count` labeled samples."""
    members: dict[str, bytes] = {}
    for i in range(first, first + count):
        members[f"s{i:03d}.png"] = encode(photo(i, **size))
        members[f"s{i:03d}.cls"] = str(i % 10).encode()
    return members


def write_tars(folder: Path, *lengths: int, **size: int) -> str:
    """Write shards of the given lengths, return their pattern."""
    for shard, length in enumerate(lengths):
        write_tar(folder / f"part-{shard}.tar", samples(sum(lengths[:shard]), length, **size))
    return str(folder / "part-*.tar")


@pytest.fixture
def tars(tmp_path: Path) -> Callable[..., str]:
    """Write shards of the given lengths, return their pattern."""
    return partial(write_tars, tmp_path)
