from pathlib import Path

import pytest

from lit_knn.data import ImageNet
from lit_knn.data.classes import IMAGENET
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo

WNIDS = [line.split()[0] for line in IMAGENET.read_text().splitlines()]


@pytest.mark.parametrize("there", [range(1000), (0, 412, 999)])
def test_classes_are_numbered_by_wordnet_id(tmp_path: Path, there: range | tuple[int, ...]) -> None:
    for i in there:
        (tmp_path / "val" / WNIDS[i]).mkdir(parents=True)
    for i in (999, 0, 412):
        (tmp_path / "val" / WNIDS[i] / f"ILSVRC2012_val_{i:08d}.JPEG").write_bytes(encode(photo(i, 6, 6), "jpg"))
    source = ImageNet(root=tmp_path, split="val")
    assert source.class_names is not None
    assert source.class_names[412] == "ashcan"
    shard = source.open_shard(0)
    assert [shard.read(row).label for row in range(len(shard))] == [0, 412, 999]
    assert not source.label_problem(1000)
    assert "ImageNet" in source.label_problem(10)
    assert source.identity() != ImageNet(root=tmp_path, split="val", shard_size=2).identity()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    for folder in ("n01440764", "n99999999"):
        (tmp_path / "val" / folder).mkdir(parents=True)
        (tmp_path / "val" / folder / "0.png").write_bytes(b"")
    with pytest.raises(UserError, match="n99999999"):
        ImageNet(root=tmp_path, split="val").shard_names()
    with pytest.raises(UserError, match="not a folder"):
        ImageNet(root=tmp_path, split="train").shard_names()
    with pytest.raises(UserError, match="no split 'test'"):
        ImageNet(root=tmp_path, split="test")  # type: ignore[arg-type]
