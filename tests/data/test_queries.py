from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from lit_knn.data import Failure, ImageData, ImageFolder, TarShards
from lit_knn.data.queries import examples
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo, samples, write_tar

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
        UserError, match=r"^1 that looks like an image of .* is not read: a/y\.gif \(this format is not read\); rename"
    ):
        ImageData(queries=ImageFolder(root=tmp_path)).test_dataloader()


@pytest.fixture
def bad(tmp_path: Path) -> str:
    """Six queries, of which one is empty, one cut short and one black everywhere."""
    members = samples(0, 6, height=6, width=6)
    members |= {"s001.png": b"", "s002.png": IMAGE[:-60], "s004.png": encode(Image.new("RGB", (6, 6)))}
    return str(write_tar(tmp_path / "bad.tar", members))


@pytest.mark.parametrize("workers", [0, 1])
def test_queries_that_cannot_be_read_may_be_left_out(bad: str, workers: int) -> None:
    module = ImageData(
        queries=TarShards(urls=bad), batch_size=2, on_query_error="skip", num_workers=workers, num_queries=6
    )
    assert module.expected_query_ids().tolist() == [0, 3, 5]
    batches = list(module.test_dataloader())
    assert [batch["key"] for batch in batches] == [["s000", "s003"], ["s005"]]
    assert [batch["id"].tolist() for batch in batches] == [[0, 3], [5]]
    assert not any(batch["failed"] for batch in batches)
    assert [failure.key for failure in module.left_out] == ["s001", "s002", "s004"]
    (sentence,) = module.warnings
    assert sentence.startswith(
        "3 queries are left out: s001 (the image is empty (0 bytes)), s002 (the image is damaged"
    )
    everything = ImageData(queries=TarShards(urls=bad), num_queries=6)
    assert module.query_identity() != everything.query_identity()


def test_by_default_the_first_one_is_named(bad: str) -> None:
    module = ImageData(queries=TarShards(urls=bad), query_subset=["s000", "s004"])
    with pytest.raises(UserError, match=r"^s004 of shard bad: every pixel is zero, and the size of a perturbation"):
        list(module.test_dataloader())
    assert module.left_out == module.warnings == []
    database = ImageData(queries=TarShards(urls=bad), database=TarShards(urls=bad), on_error="skip")
    (batch,) = database.database_batches([0])
    assert "s004" in batch["key"]  # there it is an image as others are


@pytest.mark.parametrize("on_query_error", ["raise", "skip"])
def test_black_queries_are_as_others_where_they_may_be(bad: str, on_query_error: Literal["raise", "skip"]) -> None:
    module = ImageData(queries=TarShards(urls=bad), query_subset=["s000", "s004"], on_query_error=on_query_error)
    module.black_queries = True
    (batch,) = module.test_dataloader()
    assert batch["key"] == ["s000", "s004"]
    assert not batch["image"][1].any()
    assert module.left_out == []


def test_a_run_without_a_readable_query_is_refused(bad: str) -> None:
    module = ImageData(queries=TarShards(urls=bad), query_subset=["s001", "s004"], on_query_error="skip")
    with pytest.raises(UserError, match=r"^none of the 2 queries can be read: s001 \(the image is empty"):
        module.test_dataloader()


def test_one_query_is_one(bad: str) -> None:
    module = ImageData(queries=TarShards(urls=bad), query_subset=["s000", "s001"], on_query_error="skip")
    module.test_dataloader()
    assert [sentence[:26] for sentence in module.warnings] == ["1 query is left out: s001 "]
    with pytest.raises(UserError, match=r"^the only query cannot be read: s001"):
        ImageData(queries=TarShards(urls=bad), query_subset=["s001"], on_query_error="skip").test_dataloader()
    with pytest.raises(UserError, match=r"num_queries is 2, but only 1 query is there$"):
        ImageData(queries=TarShards(urls=bad), query_subset=["s000"], num_queries=2).test_dataloader()


def test_no_queries_are_none(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"a.txt": b""})
    with pytest.raises(UserError, match=r"^there are 0 queries: data\.queries \(TarShards\) has no image"):
        ImageData(queries=TarShards(urls=str(tmp_path / "x.tar"))).test_dataloader()


def test_examples() -> None:
    failures = [Failure(-1, name, "why") for name in "abcd"]
    assert examples(failures[:2]) == "a (why), b (why)"
    assert examples(failures[:3]) == "a (why), b (why), c (why)"
    assert examples(failures) == "a (why), b (why), c (why), …"
