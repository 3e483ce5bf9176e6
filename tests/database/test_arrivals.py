import json
import shutil

import pytest

from lit_knn.data import Digits, TarShards
from lit_knn.database.arrivals import Arrivals
from lit_knn.errors import UserError
from tests.data.crawl import write_shard


@pytest.fixture
def crawl(tmp_path):
    for number in (0, 1, 3):
        write_shard(tmp_path / "crawl", number, number + 1)
    return tmp_path / "crawl"


@pytest.fixture
def now(crawl, tmp_path):
    """What has been taken, if everything is looked at again."""
    return lambda: Arrivals.read(tmp_path / "database" / "shards", TarShards(urls=str(crawl)))


def test_shards_keep_their_numbers_whatever_comes_between_them(now, crawl):
    assert (now().groups, now().new, now().late(0)) == ([], [], [])
    now().take_new()
    first = now().taken
    write_shard(crawl, 2)
    assert now().new == ["00002"]
    assert now().taken.shard_names() == ["00000", "00001", "00003"]
    now().take_new()
    write_shard(crawl, 4)
    assert now().taken.shard_names() == ["00000", "00001", "00003", "00002"]
    assert now().taken.identity() == first.identity()
    assert [(name, reason.partition(" with")[0]) for _, name, reason in now().late(3)] == [
        ("00002", "`lit-knn extract` has begun"),
        ("00004", "it came after the last `lit-knn extract`"),
    ]


def test_what_one_process_has_written_others_go_by(now, crawl):
    early = now()
    write_shard(crawl, 2)
    now().take_new()
    early.take_new()  # it had seen one less
    assert now().taken.shard_names() == ["00000", "00001", "00002", "00003"]
    early, text = now(), [path.read_bytes() for path in sorted(now().folder.iterdir())]
    write_shard(crawl, 4)
    write_shard(crawl, 5)
    now().take_new()
    early.take_new()
    assert [path.read_bytes() for path in sorted(now().folder.iterdir())][:1] == text
    assert now().new == []


def test_shards_that_are_gone_or_changed_are_refused(now, crawl):
    now().take_new()
    kept = (crawl / "00001.tar").read_bytes()
    write_shard(crawl, 1, 5)
    with pytest.raises(UserError, match=r"shard 00001 of data\.database is not what it was .* put it back, or name"):
        now()
    (crawl / "00001.tar").unlink()
    with pytest.raises(UserError, match=r"shard 00001 of data\.database is gone, but .*database was begun with it"):
        now()
    (crawl / "00001.tar").write_bytes(kept)
    assert now().new == []


def test_a_crawl_may_move_and_hold_copies(now, crawl, tmp_path):
    now().take_new()
    before = now().taken.identity()
    crawl.rename(tmp_path / "moved")
    (crawl / "twice").mkdir(parents=True)
    for folder in (crawl, crawl / "twice"):
        for path in (tmp_path / "moved").iterdir():
            shutil.copy(path, folder)
    source = TarShards(urls=[str(crawl), str(crawl / "twice")])
    arrivals = Arrivals.read(now().folder, source)
    assert arrivals.taken.identity() == before
    assert arrivals.new == ["00000", "00001", "00003"]


def test_damage_is_told(now):
    now().take_new()
    path = now().folder / "000000.json"
    text = path.read_text()
    for damaged in ("", text[:-9], text.replace("00001", "00009"), json.dumps({"shards": [3]})):
        path.write_text(damaged)
        with pytest.raises(UserError, match=r"000000\.json is damaged .* put it back, or delete the whole database"):
            now()


def test_a_source_that_cannot_tell_its_shards_is_taken_whole(tmp_path):
    arrivals = Arrivals.read(tmp_path / "shards", source := Digits(split="train"))
    arrivals.take_new()
    assert arrivals.taken is source
    assert (arrivals.new, arrivals.late(0)) == ([], [])
    assert not (tmp_path / "shards").exists()
