"""A database of a crawl that goes on: what has come is added, and the whole is as good as one made at once."""

import logging
import shutil

import numpy as np
import pytest
import torch

from lit_knn.attacks import FGSM
from lit_knn.backbones import Tap
from lit_knn.data import ImageData, TarShards
from lit_knn.database import Database
from lit_knn.database.building import findings, verify
from lit_knn.database.building.taking import listed_shards, some
from lit_knn.database.building.verification import news
from lit_knn.database.index import Faiss
from lit_knn.database.store import Store
from lit_knn.distributed.partition import Partition
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from tests.conftest import contents
from tests.data.crawl import write_shard

SIZES = {0: 5, 1: 9, 2: 0, 3: 7, 4: 3}  # images of each shard; the crawl is of four, the last one comes later


class Crawl:
    """A folder that img2dataset writes to, and a database of it."""

    def __init__(self, folder, classifier, *shards, **options):
        self.folder, self.classifier = folder, classifier
        taps = [Tap("layer3.1.add", dimension=8, name="late")]
        self.database = Database(path=folder / "database", taps=taps, **options)
        self.write(*shards)

    def write(self, *shards):
        for number in shards:
            write_shard(self.folder / "crawl", number, SIZES[number], lost=1)

    @property
    def data(self):
        """As a new process sees it."""
        source = TarShards(urls=str(self.folder / "crawl"))
        return ImageData(queries=source, database=source, batch_size=4, allow_overlap=True)

    def run(self, command, **options):
        quiet = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}
        trainer = EvalTrainer(default_root_dir=self.folder, **quiet)
        evaluation = Evaluation(classifier=self.classifier, attacks=[FGSM()], deltas=[0.1], database=self.database)
        getattr(trainer, command)(evaluation, self.data, **options)

    @property
    def store(self):
        return contents(self.database.store_path)


@pytest.fixture
def crawl(classifier, tmp_path):
    return lambda name, *shards, **options: Crawl(tmp_path / name, classifier, *shards, **options)


@pytest.fixture
def at_once(crawl):
    """The store of four shards, extracted in one go after PCA was fitted on the first two."""
    whole = crawl("whole", 0, 1)
    whole.run("fit")
    whole.write(2, 3)
    whole.database.recognize(whole.data).take_new()
    whole.run("extract")
    assert listed_shards(whole.database) == 4
    return whole.store


def test_what_has_grown_is_what_is_built_at_once_after_the_same_fit(crawl, at_once, caplog):
    grown = crawl("grown", 0, 1)
    grown.run("extract")
    before = {path: path.stat().st_mtime_ns for path in grown.database.store_path.glob("*.h5")}
    for shard in (2, 3):
        grown.write(shard)
        with caplog.at_level(logging.INFO):
            grown.run("extract")
        assert f"1 shard has come: 0000{shard}; PCA stays that of the first 2" in caplog.messages
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert grown.store == at_once
    assert list(findings(grown.database, grown.classifier, grown.data, Partition())) == []


def test_only_what_is_new_is_read(crawl, monkeypatch):
    grown = crawl("grown", 0, 1)
    grown.run("extract")
    grown.write(3)
    opened, read = [], TarShards.open_shard
    monkeypatch.setattr(TarShards, "open_shard", lambda self, shard: opened.append(shard) or read(self, shard))
    grown.run("extract")
    assert set(opened) == {0, 2}  # the first one, which the network is examined on, and the new one
    opened.clear()
    grown.run("extract")
    assert opened == []


def test_a_late_shard_moves_no_row(crawl):
    late = crawl("late", 0, 3)
    late.run("extract")
    before = Store(late.database.store_path)
    late.write(1)
    late.run("extract")
    grown, ids = Store(late.database.store_path), np.arange(len(before))
    assert grown.keys(ids) == before.keys(ids)
    assert np.array_equal(grown.features("late", ids), before.features("late", ids))
    assert grown.keys(np.array([len(before)])) == ["0000101"]
    gallery = late.database.open(late.classifier, late.data)[-1]
    shards, rows = grown.locate(np.arange(len(grown)))
    keys = [
        late.data.database.open_shard([0, 2, 1][shard]).keys()[row] for shard, row in zip(shards, rows, strict=True)
    ]
    assert keys == grown.keys(np.arange(len(grown)))
    assert len(gallery) == len(grown)


def test_killed_in_the_middle_and_run_again(crawl, at_once, monkeypatch):
    grown = crawl("grown", 0, 1)
    grown.run("extract")
    grown.write(2, 3)
    with monkeypatch.context() as patch:
        patch.setattr("lit_knn.database.store.writer.publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            grown.run("extract")
    late = ["new: 2 shards not in the store (00002, 00003): `lit-knn extract` has begun with it and not ended"]
    assert list(news(grown.database, grown.data)) == late
    assert len(grown.database.open(grown.classifier, grown.data)[-1]) == 14  # what was there is a database still
    grown.write(4)
    grown.run("extract")  # goes on with the two
    assert grown.store == at_once
    grown.run("extract")
    assert listed_shards(grown.database) == 5


def test_tasks_of_an_array_take_the_same_shards(crawl, at_once):
    grown = crawl("grown", 0, 1)
    for part in ("2/2", "1/2"):
        grown.run("fit", part=part)
    for part in ("1/3", "2/3", "3/3"):
        grown.run("extract", part=part)
    grown.write(2, 3)
    grown.run("extract", part="1/2")
    grown.write(4)  # while the second task waits for its turn
    grown.run("extract", part="2/2")
    assert grown.store.keys() == at_once.keys()  # as sums of moments in parts may have other last bits
    assert listed_shards(grown.database) == 4
    grown.run("extract", part="1/1")
    assert listed_shards(grown.database) == 5


def test_what_is_new_is_told_and_is_no_finding(crawl, capsys):
    grown = crawl("grown", 0, 1)
    grown.run("extract")
    grown.write(2, 3)
    write_shard(grown.folder / "crawl", 4, finished=False)
    verify(grown.database, grown.classifier, grown.data, Partition())
    told = "new: 2 shards not in the store (00002, 00003): it came after the last `lit-knn extract`\n"
    assert capsys.readouterr().out == told
    data = grown.data
    grown.database.open(grown.classifier, data)
    (warning,) = data.warnings
    for words in ("3 that are images", "00004.tar (img2dataset has not finished it)", "00002 (it came after"):
        assert words in warning


def test_a_changed_or_removed_shard_is_refused(crawl):
    grown = crawl("grown", 0, 1)
    grown.run("extract")
    before = grown.store
    write_shard(grown.folder / "crawl", 1, 2)
    grown.write(3)
    with pytest.raises(UserError, match=r"shard 00001 of data\.database is not what it was"):
        grown.run("extract")
    (finding,) = findings(grown.database, grown.classifier, grown.data, Partition())
    assert "shard 00001 of data.database is not what it was" in finding
    (grown.folder / "crawl" / "00001.tar").unlink()
    with pytest.raises(UserError, match=r"shard 00001 of data\.database is gone"):
        grown.run("extract")
    assert grown.store == before


def test_a_store_that_was_deleted_comes_back_in_the_same_order(crawl):
    grown = crawl("grown", 0, 3)
    grown.run("extract")
    grown.write(1)
    grown.run("extract")
    before = grown.store
    shutil.rmtree(grown.database.store_path)
    grown.run("extract")
    assert grown.store == before


def test_its_index_is_added_to_and_finds_what_the_store_finds(crawl):
    """In all rows and in parts of them."""
    index = Faiss(factory="IVF2,Flat", search_parameters={"nprobe": 2}, device="cpu")
    grown = crawl("grown", 0, 1, index=index, rows=[8, None])
    grown.run("extract")
    grown.run("index")
    grown.write(3, 4)
    grown.run("extract")
    (finding,) = findings(grown.database, grown.classifier, grown.data, Partition())
    assert finding.endswith("late lacks the rows of 2 shards that the store has got since: run `lit-knn index`")
    grown.run("index", stage="train")
    for part in ("2/2", "1/2"):
        grown.run("index", stage="add", part=part)
    grown.run("index", stage="merge")
    assert list(findings(grown.database, grown.classifier, grown.data, Partition())) == []
    scanned = Database(path=grown.database.path, taps=[*grown.database.taps.values()], rows=[8, None])
    store = Store(grown.database.store_path)
    queries = torch.from_numpy(store.features("late", np.arange(len(store))) + np.float32(0.01))
    views = [database.open(grown.classifier, grown.data) for database in (grown.database, scanned)]
    for found, expected in zip(*views, strict=True):
        assert torch.equal(found.search("late", queries, 8).ids, expected.search("late", queries, 8).ids)


def test_three_names_stand_for_all():
    assert [some("abcd"[:count]) for count in (1, 3, 4)] == ["a", "a, b, c", "a, b, c, …"]
