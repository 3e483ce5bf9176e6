import io
import tarfile
from pathlib import Path

import pytest

from lit_knn.data.members import blocks, image_of, samples
from lit_knn.errors import UserError

from .conftest import write_tar


def test_parts_of_a_key_need_not_be_neighbours(tmp_path: Path) -> None:
    members = {"a.jpg": b"1" * 700, "x/b.PNG": b"22", "a.json": b"{}", "b.seg.png": b"", "README": b"", ".hidden": b""}
    path = write_tar(tmp_path / "x.tar", members)
    found = samples(path)
    assert {key: list(sample) for key, sample in found.items()} == {
        "a": ["jpg", "json"],
        "x/b": ["png"],
        "b": ["seg.png"],
    }
    data = path.read_bytes()
    for key, extension, name in (("a", "jpg", "a.jpg"), ("x/b", "png", "x/b.PNG"), ("a", "json", "a.json")):
        member = found[key][extension]
        assert data[member.offset_data : member.offset_data + member.size] == members[name]
    assert [blocks(found["a"][extension]) for extension in ("jpg", "json")] == [1024, 512]


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_any_script(tmp_path: Path, kind: int) -> None:
    key = "фото/" * 40 + "猫" * 60
    with tarfile.open(tmp_path / "x.tar", "w", format=kind) as tar:
        info = tarfile.TarInfo(f"{key}.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    (name, sample), *more = samples(tmp_path / "x.tar").items()
    assert (name, sample["jpg"].size, more) == (key, 3, [])


def test_images(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.txt": b"", "b.webp": b"", "c.jpg": b"", "c.png": b"", "c.txt": b""})
    found = samples(path)
    assert image_of(path, "a", found["a"]) is None
    assert image_of(path, "b", found["b"]) is found["b"]["webp"]
    with pytest.raises(UserError, match=r"two images of key 'c': \.jpg and \.png"):
        image_of(path, "c", found["c"])


def test_empty_and_missing_files(tmp_path: Path) -> None:
    assert samples(write_tar(tmp_path / "x.tar", {})) == {}
    for size in (0, 100, 3 * tarfile.RECORDSIZE):
        (tmp_path / "y.tar").write_bytes(bytes(size))
        with pytest.raises(UserError, match=r"y\.tar is cut short"):
            samples(tmp_path / "y.tar")
    with pytest.raises(UserError, match=r"z\.tar is cut short, damaged or .* \(.*No such file"):
        samples(tmp_path / "z.tar")
