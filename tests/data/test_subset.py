from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_knn.data import Digits, ImageData, ImageFolder, TarShards
from lit_knn.data.subset import listed, positions
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo, write_tar

KEYS = ["n0/a.JPEG", "n0/b.JPEG", "n1/a.JPEG", "c.PNG", "deep/er/d.png", "e.v2.png"]


def found(*entries: str, keys: list[str] = KEYS) -> list[int]:
    return positions(entries, lambda: iter(keys), len(keys)).tolist()


def test_ids_and_names() -> None:
    assert found("5", "0", "3") == [0, 3, 5]
    assert found("n1/a.JPEG", "n0/b", "c.png", "val/deep/er/d.png", "e.v2") == [1, 2, 3, 4, 5]
    assert found("er/d", "b.JPEG") == [1, 4]
    assert found("00000002", keys=["00000001", "00000002"]) == [1]
    assert found("a.jpg", keys=["a.png", "a.jpg"]) == [1]
    assert found("val/n0/a.JPEG", keys=["b", "a"]) == [1]


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (["6"], "has the id 6, but the 6 queries go from 0 to 5"),
        (["9" * 5000], "none of the queries"),
        (["-1"], "'-1', which is none of the queries, which are called like 'n0/a.JPEG'"),
        (["1", "n0/x"], "'1', which is none"),
        (["n0/b", "n0/x", "n0/y"], "'n0/x', which is none"),
        (["a"], "may be 'n0/a.JPEG' and 'n1/a.JPEG'"),
        (["1", "2", "1"], "names one image twice: '1' and '1'"),
        (["c", "c.PNG"], "names one image twice: 'c' and 'c.PNG'"),
    ],
)
def test_bad_entries(entries: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        found(*entries)


def test_lists_and_files(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffa b.png\r\n\r\n c \n".encode())
    assert listed(str(path)) == ["a b.png", "c"]
    assert listed([3, "a"]) == ["3", "a"]
    bad: list[Any] = [[], "", str(tmp_path / "nowhere"), str(tmp_path)]
    path.write_bytes(b"\n")
    for subset in (*bad, str(path)):
        with pytest.raises(UserError, match=r"data\.query_subset"):
            listed(subset)


def test_queries_keep_the_ids_of_the_whole_source(tars: Callable[..., str], tmp_path: Path) -> None:
    source = TarShards(urls=tars(7, 1, 5, height=6, width=6))
    (tmp_path / "list.txt").write_text("s011.png\ns000.png\ns007.png\ns005.png\n")
    data = ImageData(queries=source, query_subset=str(tmp_path / "list.txt"), batch_size=4)
    batches = list(data.test_dataloader())
    assert [batch["id"].tolist() for batch in batches] == [[0, 5], [7], [11]]
    assert [batch["key"] for batch in batches] == [["s000", "s005"], ["s007"], ["s011"]]
    whole = {
        int(id): image
        for batch in ImageData(queries=source).test_dataloader()
        for id, image in zip(batch["id"], batch["image"], strict=True)
    }
    assert all(
        torch.equal(image, whole[int(id)])
        for batch in batches
        for id, image in zip(batch["id"], batch["image"], strict=True)
    )
    by_id = ImageData(queries=source, query_subset=[0, 5, 7, 11])
    assert by_id.expected_query_ids().tolist() == data.expected_query_ids().tolist() == [0, 5, 7, 11]
    assert by_id.query_identity() == data.query_identity()
    assert by_id.query_identity() != ImageData(queries=source, query_subset=[0, 5, 7]).query_identity()


def test_a_random_part_of_a_list() -> None:
    ids = list(range(3, 400, 2))
    data = ImageData(queries=Digits(split="test"), query_subset=[*map(str, ids)], num_queries=20)
    chosen = data.expected_query_ids().tolist()
    assert len(set(chosen)) == 20
    assert set(chosen) <= set(ids)
    with pytest.raises(UserError, match="only 2 queries"):
        _ = ImageData(queries=Digits(split="test"), query_subset=[1, 2], num_queries=3).num_queries_total


def test_robustbenchs_list_fits_folders_and_shards(tmp_path: Path) -> None:
    """Its lines are n01440764/ILSVRC2012_val_00009111.JPEG, in no order."""
    image, names = encode(photo(0, 6, 6)), [f"n0144076{i % 3}/ILSVRC2012_val_{i:08d}" for i in range(6)]
    for name in names:
        (tmp_path / "val" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "val" / f"{name}.JPEG").write_bytes(image)
    write_tar(tmp_path / "x.tar", {f"{Path(name).name}.jpg": image for name in names})
    (tmp_path / "list.txt").write_text("".join(f"{names[i]}.JPEG\n" for i in (4, 0, 3)))
    for source in (ImageFolder(root=tmp_path / "val"), TarShards(urls=str(tmp_path / "x.tar"))):
        data = ImageData(queries=source, query_subset=str(tmp_path / "list.txt"))
        keys = [source.open_shard(0).keys()[id] for id in data.expected_query_ids()]
        assert sorted(Path(key).stem for key in keys) == sorted(Path(names[i]).name for i in (4, 0, 3))
