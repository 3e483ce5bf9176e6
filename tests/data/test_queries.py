from pathlib import Path

import pytest

from lit_knn.data import Failure, ImageData, ImageFolder, TarShards
from lit_knn.data.queries import examples
from lit_knn.errors import UserError

from .conftest import encode, photo, write_tar

IMAGE = encode(photo(0, 6, 6))


def test_queries_that_would_be_lost_are_refused(tmp_path: Path) -> None:
    names = [f"shot_{i}.{'5.' * (i % 2)}png" for i in range(6)]
    write_tar(tmp_path / "x.tar", dict.fromkeys(names, IMAGE) | {f"shot_{i}.cls": b"1" for i in range(6)})
    with pytest.raises(
        UserError, match=r"^3 that look like images of data\.queries are not read: shot_1\.5\.png \(a key"
    ):
        ImageData(queries=TarShards(urls=str(tmp_path / "x.tar"))).test_dataloader()
    (tmp_path / "a").mkdir()
    for name in ("x.png", "y.gif"):
        (tmp_path / "a" / name).write_bytes(IMAGE)
    with pytest.raises(
        UserError, match=r"^1 that look like images of .* read: a/y\.gif \(this format is not read\); rename"
    ):
        ImageData(queries=ImageFolder(root=tmp_path)).test_dataloader()


def test_no_queries_are_none(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"a.txt": b""})
    with pytest.raises(UserError, match=r"^there are 0 queries: data\.queries \(TarShards\) has no image"):
        ImageData(queries=TarShards(urls=str(tmp_path / "x.tar"))).test_dataloader()


def test_examples() -> None:
    failures = [Failure(-1, name, "why") for name in "abcd"]
    assert examples(failures[:2]) == "a (why), b (why)"
    assert examples(failures[:3]) == "a (why), b (why), c (why)"
    assert examples(failures) == "a (why), b (why), c (why), …"
