import os
from pathlib import Path

import pytest
from torch import nn

from lit_knn.backbones.loading import load_weights
from lit_knn.data import TarShards, classes, subset
from lit_knn.data.sources.label_file import LabelFile
from lit_knn.data.sources.regular_files import read_regular
from lit_knn.errors import UserError


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(OSError, match="it is no regular file"):
            read_regular(path)
    (tmp_path / "a.png").write_bytes(b"123")
    (tmp_path / "b.png").symlink_to("a.png")
    assert read_regular(tmp_path / "b.png") == b"123"


def test_files_beside_images_are_regular_ones_too(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    for read in (classes.given, lambda path: LabelFile(Path(path)), subset.listed):
        with pytest.raises(UserError, match=r"pipe\.txt cannot be read \(.*it is no regular file"):
            read(str(pipe))
    with pytest.raises(UserError, match="no tar file matches"):
        TarShards(urls=str(pipe)).shard_names()
    with pytest.raises(UserError, match=r"weights .*pipe\.txt"):
        load_weights(nn.Linear(1, 1), pipe)
