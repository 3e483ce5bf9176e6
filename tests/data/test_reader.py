import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from lit_knn.data import TarShards
from lit_knn.data.reader import Reader
from lit_knn.errors import UserError


@pytest.fixture
def source(tmp_path):
    """Three shards of two images of noise, the last of which is no image."""
    rng = np.random.default_rng(0)
    for shard in range(3):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for row in range(2):
                buffer = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).save(buffer, "png")
                image = b"" if (shard, row) == (2, 1) else buffer.getvalue()
                for name, content in ((f"{shard}{row}.png", image), (f"{shard}{row}.cls", b"0")):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return TarShards(urls=str(tmp_path / "*.tar"))


def test_several_images_are_read_shard_by_shard(source, monkeypatch):
    """Each shard is opened once, whatever the order, though few are held open; an image may be wanted twice."""
    monkeypatch.setattr("lit_knn.data.reader.OPEN_SHARDS", 1)
    reader, opened, open_shard = Reader(source, None), [], source.open_shard
    monkeypatch.setattr(source, "open_shard", lambda index: opened.append(index) or open_shard(index))
    shards, rows = [2, 0, 1, 2, 0, 0], [0, 0, 1, 0, 1, 0]
    images = reader.images(shards, rows)
    assert sorted(opened) == [0, 1, 2]
    for image, shard, row in zip(images, shards, rows, strict=True):
        assert torch.equal(image, reader.read(shard, row)[1])
    assert len({image.numpy().tobytes() for image in images}) == 4


def test_what_is_no_image_is_named(source):
    reader = Reader(source, None)
    with pytest.raises(UserError, match=r"^21 of shard 2: the image is empty"):
        reader.images([0, 2], [0, 1])
