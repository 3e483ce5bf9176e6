from pathlib import Path

import pytest

from lit_knn.data import TarShards
from lit_knn.data.taken_shards import TakenShards
from tests.data.conftest import samples, write_tar
from tests.data.crawl import write_shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (0, 1, 3):
        write_shard(tmp_path, number, number + 1)
    return tmp_path


def test_shards_have_numbers_of_their_own(folder: Path) -> None:
    source = TarShards(urls=str(folder))
    taken = TakenShards(source, [2, 0], 1)
    assert taken.shard_names() == ["00003", "00000"]
    assert taken.open_shard(0).keys() == source.open_shard(2).keys()
    assert taken.shard_identities() == [source.shard_identities()[place] for place in (2, 0)]
    for name in ("found_classes", "class_names", "labels_from"):
        assert getattr(taken, name) == getattr(source, name)
    assert (taken.unread(), taken.remark(), taken.label_problem(3)) == ([], source.remark(), "")


def test_it_stays_what_it_was_at_first(folder: Path) -> None:
    before = TarShards(urls=str(folder)).identity()
    write_shard(folder, 2)
    source = TarShards(urls=str(folder))
    assert source.identity() != before
    assert TakenShards(source, [0, 1, 3, 2], 3).identity() == before
    assert TakenShards(source, [0, 1, 3, 2], 2).identity() != before
    assert TakenShards(source, [1, 0, 3, 2], 3).identity() != before


def test_labels_are_those_of_the_source(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", samples(0, 3))
    source = TarShards(urls=str(tmp_path), classes=[f"class {number}" for number in range(10)])
    taken = TakenShards(source, [0], 1)
    assert [taken.open_shard(0).read(row).label for row in range(3)] == [0, 1, 2]
    assert taken.label_problem(3) == source.label_problem(3) != ""
