"""An index that is added to: as good as one that all rows were added to at once, whatever interrupts it."""

import os
import shutil

import faiss
import numpy as np
import pytest
import torch

from lit_knn.database.index import Binary, Faiss
from lit_knn.database.index.earlier import as_of, earlier_index, merged_path
from lit_knn.database.index.faiss_files import FaissFormat
from lit_knn.database.random_order import RandomOrder
from lit_knn.database.store import Store, write_manifest
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import to_text
from lit_knn.storage.sidecar import describe_file, recorded
from tests.database.index.conftest import Killed, clustered, killed_at, write_features
from tests.database.index.test_files import names, numpy

CUTS = [2000, 3001, 3001]  # shards of 2,000, 1,001, no and 503 rows
ROWS, DIMENSION, K = 3504, 16, 20
QUERIES = clustered(ROWS + 30, DIMENSION)[ROWS:]


def first(folder, shards):
    """The store as it was with so many shards."""
    write_manifest(folder, range(shards))
    return Store(folder)


@pytest.fixture(scope="module")
def crawls(tmp_path_factory):
    """Folders of a store of four shards, of features and of their signs."""
    rows = clustered(ROWS, DIMENSION)
    folders = {bits: tmp_path_factory.mktemp("crawl") for bits in (False, True)}
    for bits, folder in folders.items():
        write_features(folder, np.where(rows < 0, -1, 1).astype(np.float32) if bits else rows, CUTS, bits=bits)
    return folders


@pytest.fixture
def crawl(crawls):
    return crawls[False]


@pytest.fixture
def added(monkeypatch):
    """Which rows FAISS has been given."""
    rows, add = [], FaissFormat.add

    def note(self, store, tap, trained, part, path):
        rows.append(part)
        add(self, store, tap, trained, part, path)

    monkeypatch.setattr(FaissFormat, "add", note)
    return rows


def grow(index, crawl, folder):
    """Build over one shard, add the second in parts of an array, then each of the others."""
    index.build(first(crawl, 1), "late", folder)
    trained = (folder / "trained.faiss").read_bytes()
    two = first(crawl, 2)
    index.train(two, "late", folder)
    for number in (2, 3, 1):
        index.add(two, "late", folder, Partition(number, 3))
    index.merge(two, "late", folder)
    for shards in (3, 4):
        index.build(first(crawl, shards), "late", folder)
        lists = [f"merged-00000{shards}.ivfdata"] * any(folder.glob("*.ivfdata"))
        merged = f"merged-00000{shards}.faiss"
        assert names(folder) == [merged, f"{merged}.json", *lists, "trained.faiss", "trained.faiss.json"]
    assert (folder / "trained.faiss").read_bytes() == trained
    return first(crawl, 4)


FLOATS = ["Flat", "SQ8", "IVF16,Flat", "IVF16,SQ8", "IVF16,PQ4x4", "IVF16_HNSW8,RaBitQ,Refine(SQ8)"]


@pytest.mark.parametrize("factory", FLOATS)
def test_it_finds_what_all_rows_find_that_faiss_adds_at_once_to_the_same_training(factory, crawl, tmp_path, added):
    store = grow(Faiss(factory=factory, training_rows=1500), crawl, tmp_path)
    assert sorted(row for rows in added for row in rows) == list(range(ROWS))
    expected = faiss.read_index(str(tmp_path / "trained.faiss"))
    expected.add(store.features("late", np.arange(ROWS)))
    found = faiss.read_index(str(tmp_path / "merged-000004.faiss"), faiss.IO_FLAG_ONDISK_SAME_DIR)
    for nprobe in (3, 16) if "IVF" in factory else (1,):
        if "IVF" in factory:
            for index in (expected, found):
                faiss.ParameterSpace().set_index_parameter(index, "nprobe", nprobe)
        for one, other in zip(found.search(QUERIES, K), expected.search(QUERIES, K), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("factory", ["BFlat", "BIVF8"])
def test_so_does_one_of_bits(factory, crawls, tmp_path, added):
    store = grow(Binary(factory=factory), crawls[True], tmp_path)
    assert sorted(row for rows in added for row in rows) == list(range(ROWS))
    expected = faiss.read_index_binary(str(tmp_path / "trained.faiss"))
    expected.add(store.codes("late", np.arange(ROWS)))
    found = faiss.read_index_binary(str(tmp_path / "merged-000004.faiss"), faiss.IO_FLAG_ONDISK_SAME_DIR)
    codes = np.packbits(QUERIES > 0, axis=1, bitorder="little")
    for one, other in zip(found.search(codes, K), expected.search(codes, K), strict=True):
        assert np.array_equal(one, other)


def test_views_take_rows_of_all_shards_in_random_order(crawl, tmp_path):
    """Compared with all distances, computed in float64."""
    index = Faiss(factory="IVF16,Flat", search_parameters={"nprobe": 16}, device="cpu")
    store = grow(index, crawl, tmp_path)
    among = RandomOrder(ROWS, 7).selections([(0, 900)])[0]
    rows = np.flatnonzero(RandomOrder(ROWS, 7).positions(np.arange(ROWS)) < 900)
    assert rows.max() > CUTS[-1]
    distances = np.linalg.norm(QUERIES[:, None].astype(np.float64) - store.features("late", rows), axis=2)
    nearest = rows[np.argsort(distances, axis=1, kind="stable")[:, :K]]
    found = index.open(store, "late", tmp_path).search(torch.from_numpy(QUERIES), K, among)
    assert np.array_equal(found.ids, nearest)


def test_until_it_is_added_to_it_is_refused_in_one_sentence(crawl, tmp_path):
    index = Faiss()
    index.build(first(crawl, 1), "late", tmp_path)
    for shards, lacking in ((2, "1 shard"), (4, "3 shards")):
        with pytest.raises(
            UserError, match=f"lacks the rows of {lacking} that the store has got .*: run `lit-knn index`"
        ):
            index.open(first(crawl, shards), "late", tmp_path)
    index.open(first(crawl, 1), "late", tmp_path)


@pytest.mark.parametrize("factory", [None, "IVF4,Flat"])
def test_killed_at_any_moment_it_goes_on_with_what_there_is(factory, crawl, tmp_path, monkeypatch):
    """Old index or new one, one can always be opened."""
    index = Faiss(factory=factory, device="cpu") if factory else numpy()
    stores = [first(crawl, 1), first(crawl, 2)]
    index.build(stores[0], "late", tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "whole")
    index.build(stores[1], "late", tmp_path / "whole")
    built = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    added, add = [], type(index.file_format).add
    monkeypatch.setattr(type(index.file_format), "add", lambda *args: added.append(args[-2]) or add(*args))

    def interrupted(moment, folder):
        try:
            with killed_at(moment, "replace", "unlink", "link"):
                index.train(stores[1], "late", folder)
                index.add(stores[1], "late", folder, WHOLE)
                index.merge(stores[1], "late", folder)
        except Killed:
            return True
        return False

    moment = 0
    while interrupted(moment, shutil.copytree(tmp_path / "one", folder := tmp_path / str(moment))):
        index.open(stores[(folder / "merged-000002.faiss.json").exists()], "late", folder)
        for path in folder.glob(".*.tmp"):  # as if by a process that has ended
            path.rename(path.with_name(path.name.replace(f"-{os.getpid()}-", "-4194305-")))
        index.build(stores[1], "late", folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == built
        moment += 1
    assert moment > 10
    assert min(rows.start for rows in added) == CUTS[0]


@pytest.mark.parametrize("name", ["merged-000001.faiss", "merged-000001.faiss.json", "trained.faiss"])
def test_damage_of_what_there_is_makes_it_anew(name, crawl, tmp_path, added):
    numpy().build(first(crawl, 1), "late", tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2] + b"!" + content[len(content) // 2 + 1 :])
    store = first(crawl, 2)
    numpy().build(store, "late", tmp_path)
    rows = torch.from_numpy(store.features("late", np.arange(0, len(store), 100)))
    assert numpy().open(store, "late", tmp_path).search(rows, 1).ids.ravel().tolist() == list(range(0, len(store), 100))


def test_a_store_that_grows_again_while_parts_are_added(crawl, tmp_path):
    numpy().build(first(crawl, 1), "late", tmp_path)
    numpy().train(two := first(crawl, 2), "late", tmp_path)
    for number in (1, 2):
        numpy().add(two, "late", tmp_path, Partition(number, 2))
    store = first(crawl, 4)
    numpy().build(store, "late", tmp_path)
    assert np.array_equal(np.load(tmp_path / "merged-000004.faiss"), store.features("late", np.arange(ROWS)))


@pytest.mark.parametrize("factory", ["HNSW8", "IVF16,PQ8x4fs"])
def test_what_faiss_cannot_merge_gets_all_rows_again(factory, crawl, tmp_path, added):
    index = Faiss(factory=factory)
    index.build(first(crawl, 1), "late", tmp_path)
    index.build(store := first(crawl, 4), "late", tmp_path)
    assert added == [range(CUTS[0]), range(ROWS)]
    rows = torch.from_numpy(store.features("late", np.array([0, ROWS - 1])))
    assert index.open(store, "late", tmp_path).search(rows, K).ids.max() > CUTS[-1]


def test_auto_is_trained_anew_only_where_another_index_suits_the_rows(crawl, tmp_path, added, monkeypatch):
    index = Faiss(factory="auto")
    for limit, factory, rows in ((2500, "Flat", range(CUTS[0])), (3000, "IVF256,Flat", range(CUTS[1]))):
        monkeypatch.setattr("lit_knn.database.index.plan.EXACT_UP_TO", limit)
        index.build(first(crawl, 1 + (limit == 3000)), "late", tmp_path)
        assert recorded(tmp_path / "trained.faiss")["chosen"] == {"factory": factory}
        assert added.pop() == rows
    index.build(first(crawl, 4), "late", tmp_path)
    assert recorded(tmp_path / "trained.faiss")["chosen"] == {"factory": "IVF256,Flat"}
    assert added == [range(CUTS[1], ROWS)]


def test_origins_are_those_of_the_first_shards(crawl, tmp_path):
    store = first(crawl, 4)
    checksums, origin = list(store.prefixes), {"tap": "late", "store": store.checksum}
    for shards in (1, 3, 4):
        path = merged_path(tmp_path, shards)
        path.write_text("rows")
        describe_file(path).write_text(to_text({"store": checksums[shards - 1]}))
        assert as_of(path, origin, store) == {"tap": "late", "store": checksums[shards - 1]}
    other = tmp_path / "other.faiss"
    assert as_of(other, origin, store) == origin
    describe_file(other).write_text(to_text({"store": "of another store"}))
    assert as_of(other, origin, store) == origin
    assert earlier_index(tmp_path, origin, store) is None  # the files are not what their sidecars say
