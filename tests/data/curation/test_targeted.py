import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lit_knn.data import TarShards
from lit_knn.data.curation.hashtags import HashtagList
from lit_knn.data.curation.targeted import copy_matching, count_hashtags
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo, write_tar

CATS = HashtagList({"cat": ("n1",), "crane": ("n2", "n3"), "猫": ("n1",)})
IMAGE = encode(photo(0), "jpg")


def crawl() -> dict[str, bytes]:
    """One sample of each kind, as img2dataset orders the members."""
    metadata: dict[str, dict[str, Any]] = {
        "list": {"hashtags": ["Crane", "#CAT"], "url": "u", "score": float("nan")},
        "none": {"hashtags": ["dog"], "caption": "#cat"},
        "caption": {"caption": "my #猫!", "status": "success", "original": "\ud800"},
        "failed": {"hashtags": ["cat"], "status": "failed_to_download"},
    }
    members: dict[str, bytes] = {}
    for key, fields in metadata.items():
        members[f"{key}.json"] = json.dumps(fields).encode()
        if key != "failed":
            members[f"{key}.jpg"] = IMAGE + key.encode()
            members[f"{key}.txt"] = b"no tags"
    return members | {
        "text.jpg": IMAGE,  # an image without metadata
        "text.txt": b"\xff #cat",
        "bare.png": IMAGE,
        "broken.json": b'{"hashtags": ["cat"',
        "broken.jpg": IMAGE,
        "array.json": b'["cat"]',
        "array.jpg": IMAGE,
    }


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def selected(path: Path, tags: HashtagList = CATS) -> tuple[Path, dict[str, Mapping[str, int]]]:
    out = path.with_name(f"{path.stem}-targeted.tar")
    with out.open("wb") as file:
        return out, copy_matching(path, file, tags)


def test_what_is_kept_is_kept_byte_for_byte_but_for_its_json(tmp_path: Path) -> None:
    members = crawl()
    out, counts = selected(write_tar(tmp_path / "x.tar", members))
    found = members_of(out)
    assert list(found) == [
        *("list.json", "list.jpg", "list.txt", "caption.json", "caption.jpg", "caption.txt"),
        *("text.jpg", "text.txt", "text.json"),
    ]
    assert all(found[name] == members[name] for name in found if not name.endswith(".json"))
    targeted = {"list": {"cat": ["n1"], "crane": ["n2", "n3"]}, "caption": {"猫": ["n1"]}, "text": {"cat": ["n1"]}}
    for key, matched in targeted.items():
        before = json.loads(members.get(f"{key}.json", b"{}"))
        assert str(json.loads(found[f"{key}.json"])) == str({**before, "targeted": matched})  # nan is not itself
    assert counts == {
        "images": {"images": 7, "kept": 3, "without_image": 1, "unreadable_metadata": 2},
        "hashtags": {"cat": 2, "crane": 1, "猫": 1},
        "synsets": {"n1": 3, "n2": 1, "n3": 1},
    }
    assert count_hashtags(tmp_path / "x.tar", CATS) == counts["hashtags"]
    shard = TarShards(urls=str(out)).open_shard(0)
    assert [shard.read(row).image for row in range(3)] == [members[f"{key}.jpg"] for key in ("list", "caption", "text")]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_are_kept(tmp_path: Path, kind: int) -> None:
    """Long names, owners and times survive, whatever the kind of tar file; a second selection changes nothing."""
    key = "k" * 90 if kind == tarfile.USTAR_FORMAT else "dir/" + "猫" * 90
    with tarfile.open(tmp_path / "x.tar", "w", format=kind) as tar:
        for name, data in ((f"{key}.json", b'{"tags": "cat"}'), (f"{key}.jpg", IMAGE)):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid, info.uname, info.mode = len(data), 1234567890, 77, "nobody", 0o640
            tar.addfile(info, io.BytesIO(data))
    out, _ = selected(tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as before, tarfile.open(out) as after:
        for old, new in zip(before, after, strict=True):
            for field in ("name", "mtime", "uid", "uname", "mode", "type"):
                assert getattr(old, field) == getattr(new, field)
        image = before.getmembers()[1]
    whole = (tmp_path / "x.tar").read_bytes()
    assert whole[image.offset : image.offset_data + image.size] in out.read_bytes()
    again, _ = selected(out)
    assert again.read_bytes() == out.read_bytes()


def test_nothing_to_keep(tmp_path: Path) -> None:
    for members in ({}, {"a.jpg": IMAGE}):
        out, counts = selected(write_tar(tmp_path / "x.tar", members))
        assert out.read_bytes() == write_tar(tmp_path / "empty.tar", {}).read_bytes()
        assert (counts["images"]["images"], counts["images"]["kept"]) == (len(members), 0)
        assert len(TarShards(urls=str(out)).open_shard(0)) == 0


def test_an_image_larger_than_what_is_copied_at_once(tmp_path: Path) -> None:
    image = bytes(range(256)) * 10_000
    out, _ = selected(write_tar(tmp_path / "x.tar", {"a.jpg": image, "a.txt": b"#cat"}))
    assert members_of(out)["a.jpg"] == image


def test_damaged_tar_files(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", crawl())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"x\.tar is cut short"):
        selected(path)
    path = write_tar(tmp_path / "x.tar", {"a.jpg": IMAGE, "a.JPG": IMAGE})
    with pytest.raises(UserError, match=r"x\.tar holds a\.JPG twice"):
        count_hashtags(path, CATS)
