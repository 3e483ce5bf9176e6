from pathlib import Path

import pytest

from lit_knn.data import ImageNet
from lit_knn.errors import UserError

from .conftest import encode, photo


def test_classes_are_numbered_by_wordnet_id(tmp_path: Path) -> None:
    wnids = [f"n{10_000_000 + 7 * i}" for i in range(1000)]
    for wnid in wnids:
        (tmp_path / "val" / wnid).mkdir(parents=True)
    for i in (999, 0, 412):
        (tmp_path / "val" / wnids[i] / f"ILSVRC2012_val_{i:08d}.JPEG").write_bytes(encode(photo(i), "jpg"))
    source = ImageNet(root=tmp_path, split="val")
    assert source.class_names == wnids
    shard = source.open_shard(0)
    assert [shard.read(row).label for row in range(len(shard))] == [0, 412, 999]
    assert source.identity() != ImageNet(root=tmp_path, split="val", shard_size=2).identity()


def test_a_subset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "val" / "n01440764").mkdir(parents=True)
    with pytest.raises(UserError, match="all 1,000 classes"):
        ImageNet(root=tmp_path, split="val").shard_names()
    with pytest.raises(UserError, match="not a folder"):
        ImageNet(root=tmp_path, split="train").shard_names()
