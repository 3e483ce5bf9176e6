import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from lit_knn.data import ImageFolder, TarShards, decode
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo

_SCRIPT = Path(__file__).parents[2] / "tools" / "make_shards.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_shards", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    files = {"a/0.jpg": "jpg", "a/1.5.JPEG": "png", "b/2.png": "webp", "b/3.bmp": "bmp", "c/4.png": "png"}
    for i, (name, kind) in enumerate(files.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode(photo(i), kind))
    return folder


def test_shards_hold_the_same_images(script: ModuleType, folder: Path, tmp_path: Path) -> None:
    script.main(["folder", str(folder), str(tmp_path / "out"), "--shard-size", "2", "--prefix", "x"])
    source = TarShards(urls=str(tmp_path / "out" / "x-{00000..00002}.tar"), classes=str(tmp_path / "out/classes.txt"))
    assert source.class_names == ["a", "b", "c"]
    expected = ImageFolder(root=folder, shard_size=2)
    keys = []
    for index in range(3):
        shard, original = source.open_shard(index), expected.open_shard(index)
        assert len(shard) == len(original)
        for row in range(len(shard)):
            a, b = shard.read(row), original.read(row)
            assert a.label == b.label
            assert isinstance(a.image, bytes)
            assert isinstance(b.image, bytes)
            assert (decode(a.image) == decode(b.image)).all()
            keys.append(a.key)
    assert keys == ["a/0", "a/1_5", "b/2", "b/3", "c/4"]


def test_an_interrupted_run_goes_on(script: ModuleType, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (folder / "b" / "2.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"b/2\.png: the image is empty"):
        script.main(["folder", str(folder), str(out), "--shard-size", "2"])
    assert sorted(path.name for path in out.iterdir()) == ["classes.txt", "part-00000.tar"]
    first = (out / "part-00000.tar").stat()
    (folder / "b" / "2.png").write_bytes(encode(photo(2)))
    script.main(["folder", str(folder), str(out), "--shard-size", "2"])
    assert sorted(path.name for path in out.glob("*.tar")) == [f"part-{i:05d}.tar" for i in range(3)]
    assert (out / "part-00000.tar").stat().st_mtime_ns == first.st_mtime_ns


def test_two_images_of_one_key(script: ModuleType, folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "0.png").write_bytes(encode(photo(9)))
    with pytest.raises(UserError, match=r"a/0\.png shares the key a/0"):
        script.main(["folder", str(folder), str(tmp_path / "out")])
