import os
import pickle
import shutil
from pathlib import Path

import pytest
from torchvision import datasets

from lit_knn.data import ImageError, ImageFolder
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name, count in (("b", 5), ("a", 4), ("C", 2)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}.{'JPEG' if i % 2 else 'png'}").write_bytes(encode(photo(i)))
    (root / "a" / "notes.txt").write_text("no image")
    (root / ".cache").mkdir()
    return root


def test_order_and_labels_are_torchvisions(root: Path) -> None:
    shutil.rmtree(root / ".cache")
    source, peer = ImageFolder(root=root, shard_size=3), datasets.ImageFolder(str(root))
    shards = [source.open_shard(index) for index in range(len(source.shard_names()))]
    assert [len(shard) for shard in shards] == [3, 3, 3, 2]
    found = [(str(root / key), shard.read(row).label) for shard in shards for row, key in enumerate(shard.keys())]
    assert found == peer.samples
    assert source.class_names == peer.classes


def test_nested_folders_belong_to_their_class(root: Path) -> None:
    (root / "a" / "deep").mkdir()
    (root / "a" / "deep" / "x.PNG").write_bytes(encode(photo(0)))
    shard = ImageFolder(root=root).open_shard(0)
    assert shard.read(list(shard.keys()).index("a/deep/x.PNG")).label == 1


def test_without_sub_folders_labels_are_unknown(root: Path) -> None:
    source = ImageFolder(root=root / "a")
    assert source.class_names is None
    assert {source.open_shard(0).read(row).label for row in range(4)} == {-1}


def test_identity_knows_the_files_but_not_the_place(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    assert ImageFolder(root=root).identity() == ImageFolder(root=tmp_path / "copy").identity()
    assert ImageFolder(root=root).identity() != ImageFolder(root=root, shard_size=3).identity()
    (tmp_path / "copy" / "a" / "0.png").rename(tmp_path / "copy" / "a" / "00.png")
    assert ImageFolder(root=root).identity() != ImageFolder(root=tmp_path / "copy").identity()


def test_pickled_shards_read_the_same(root: Path) -> None:
    shard = ImageFolder(root=root).open_shard(0)
    assert pickle.loads(pickle.dumps(shard)).read(2) == shard.read(2)


def test_a_file_that_vanished_is_one_bad_image(root: Path) -> None:
    shard = ImageFolder(root=root).open_shard(0)
    (root / "C" / "0.png").unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        shard.read(0)


def test_bad_folders(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        ImageFolder(root=tmp_path / "nowhere").shard_names()
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no images"):
        ImageFolder(root=tmp_path / "empty").shard_names()
    with pytest.raises(UserError, match="shard_size"):
        ImageFolder(root=root, shard_size=0)
    source = ImageFolder(root=root)
    source.shard_names()
    (root / "b" / "new.png").write_bytes(b"")
    with pytest.raises(UserError, match="changed from 5 to 6"):
        source.open_shard(0)
    (root / "loose.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"loose\.png"):
        ImageFolder(root=root).shard_names()


def test_what_looks_like_an_image_and_is_not_read(root: Path) -> None:
    source = ImageFolder(root=root)
    assert source.unread() == []
    for name in ("a/x.gif", "b/deep/y.avif", "z.heic", "notes.txt", ".hidden.gif"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    unread = ImageFolder(root=root).unread()
    assert [(row, key) for row, key, _ in unread] == [(-1, "z.heic"), (-1, "a/x.gif"), (-1, "b/deep/y.avif")]


def test_a_named_pipe_is_one_bad_image(root: Path) -> None:
    os.mkfifo(root / "a" / "9.png")
    shard = ImageFolder(root=root).open_shard(0)
    with pytest.raises(ImageError, match=r"cannot be read \(it is no regular file"):
        shard.read(list(shard.keys()).index("a/9.png"))


def test_what_two_folders_share(root: Path, tmp_path: Path) -> None:
    source = ImageFolder(root=root)
    for same in (ImageFolder(root=root), ImageFolder(root=root, shard_size=3), ImageFolder(root=root / "a")):
        assert "is a folder of both" in source.shared(same)
        assert "is a folder of both" in same.shared(source)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "b").symlink_to(root / "b")  # as ImageNet-100 is made of ImageNet
    assert source.shared(ImageFolder(root=tmp_path / "some")) == f"{root / 'b'} is a folder of both"
    shutil.copytree(root, tmp_path / "copy")
    copy = ImageFolder(root=tmp_path / "copy", shard_size=3)
    assert "the same files by name" in source.shared(copy)
    (tmp_path / "copy" / "a" / "0.png").rename(tmp_path / "copy" / "a" / "00.png")
    assert source.shared(ImageFolder(root=tmp_path / "copy")) == ""
    assert ImageFolder(root=root / "a").shared(ImageFolder(root=root / "b")) == ""
