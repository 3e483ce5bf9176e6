import inspect
import os
import shutil

import numpy as np
import pytest
import torch

from lit_knn.database.index import Faiss
from lit_knn.database.index.file_search import FileSearcher
from lit_knn.database.index.files import FileFormat, FileIndex
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import from_text
from tests.database.index.conftest import Killed, found, killed_at


class Numbers(FileFormat):
    """The shortest format: the rows themselves, as a file."""

    def __init__(self, *, exponent=2):
        self.exponent = exponent

    @property
    def settings(self):
        return {"exponent": self.exponent}

    def train(self, store, tap, path):
        path.write_text(f"trained {self.exponent}")
        return {}

    def add(self, store, tap, trained, rows, path):
        with path.open("wb") as file:
            np.save(file, store.features(tap, np.arange(rows.start, rows.stop)))

    def merge(self, trained, parts, path, lists, final):
        with path.open("wb") as file:
            np.save(file, np.concatenate([np.load(part) for part, _ in parts]))

    def open(self, path, description):
        return Rows(np.load(path))


class Rows(FileSearcher):
    def __init__(self, rows):
        self.rows = rows

    def find(self, features, k, among):
        distances = np.linalg.norm(features.numpy()[:, None] - self.rows, axis=2)  # (N, M)
        if among is not None:
            distances[:, ~among.mask(range(len(self.rows)))] = np.inf
        ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
        distances = np.take_along_axis(distances, ids, axis=1)
        short = k - ids.shape[1]
        return found(
            np.pad(np.where(np.isinf(distances), -1, ids), ((0, 0), (0, short)), constant_values=-1),
            np.pad(distances, ((0, 0), (0, short)), constant_values=np.inf),
        )


class Numpy(FileIndex):
    def __init__(self, numbers):
        self.numbers = numbers

    @property
    def file_format(self):
        return self.numbers


def numpy(**options):
    return Numpy(Numbers(**options))


BUILT = ["merged-000003.faiss", "merged-000003.faiss.json", "trained.faiss", "trained.faiss.json"]


def in_parts(index, store, folder, count):
    index.train(store, "late", folder)
    for number in reversed(range(1, count + 1)):  # in any order
        index.add(store, "late", folder, Partition(number, count))


@pytest.fixture
def folder(small, tmp_path):
    numpy().build(small, "late", tmp_path / "late")
    return tmp_path / "late"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_common_is_none_that_yaml_can_name():
    assert inspect.isabstract(FileIndex)


def test_what_is_left_of_a_build(folder, small):
    assert names(folder) == BUILT
    sidecar = from_text((folder / "merged-000003.faiss.json").read_text())
    assert [len(sidecar.pop(name)) for name in ("sha256", "sample", "training")] == [64] * 3
    assert sidecar == {
        "store": small.checksum,
        "tap": "late",
        "dimension": 8,
        "settings": {"exponent": 2},
        "size": (folder / "merged-000003.faiss").stat().st_size,
        "chosen": {},
        "lists": {},
    }
    rows = torch.from_numpy(small.features("late", np.arange(5)))
    assert numpy().open(small, "late", folder).search(rows, 1).ids.ravel().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_parts_merged_are_the_whole(count, folder, small, tmp_path):
    in_parts(numpy(), small, tmp_path / "parts", count)
    numpy().merge(small, "late", tmp_path / "parts")
    assert names(tmp_path / "parts") == names(folder)
    assert (tmp_path / "parts" / "merged-000003.faiss").read_bytes() == (folder / "merged-000003.faiss").read_bytes()


def test_a_step_that_is_done_is_not_done_again(small, tmp_path, monkeypatch):
    in_parts(numpy(), small, tmp_path, 3)
    for step in ("train", "add"):
        monkeypatch.setattr(Numbers, step, None)
    in_parts(numpy(), small, tmp_path, 3)
    numpy().merge(small, "late", tmp_path)
    monkeypatch.setattr(Numbers, "merge", None)
    in_parts(numpy(), small, tmp_path, 3)
    numpy().merge(small, "late", tmp_path)
    assert names(tmp_path) == BUILT


@pytest.mark.parametrize("moment", range(9))
def test_a_merge_that_is_killed_leaves_nothing_behind_once_it_has_been_run_again(small, tmp_path, moment):
    """The whole is as good as never interrupted."""
    in_parts(numpy(), small, tmp_path, 2)
    with killed_at(moment, "replace", "unlink"), pytest.raises(Killed):
        numpy().merge(small, "late", tmp_path)
    for path in tmp_path.glob(".*.tmp"):  # as if by a process that has ended
        path.rename(path.with_name(path.name.replace(f"-{os.getpid()}-", "-4194305-")))
    numpy().build(small, "late", tmp_path)
    assert names(tmp_path) == BUILT
    numpy().open(small, "late", tmp_path)


def test_other_settings_replace_the_index(folder, small):
    numpy(exponent=3).build(small, "late", folder)
    numpy(exponent=3).open(small, "late", folder)
    with pytest.raises(UserError, match=r"settings.exponent is 3 where 2 is expected"):
        numpy().open(small, "late", folder)


def test_a_failed_build_leaves_the_old_index(folder, small):
    class Broken(Numbers):
        def add(self, store, tap, trained, rows, path):
            path.write_text("half")
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Numpy(Broken(exponent=3)).build(small, "late", folder)
    numpy().open(small, "late", folder)
    assert names(folder) == BUILT


def test_a_missing_part(small, tmp_path):
    in_parts(numpy(), small, tmp_path, 3)
    (tmp_path / "part-00002-of-00003.faiss").unlink()
    with pytest.raises(
        UserError, match="not all parts of the index, but part-00001-of-00003, part-00003-of-00003; run"
    ):
        numpy().merge(small, "late", tmp_path)


def test_a_part_of_another_training(small, tmp_path):
    in_parts(numpy(), small, tmp_path / "a", 2)

    class Other(Numbers):
        def train(self, store, tap, path):
            path.write_text("trained elsewhere")
            return {}

    in_parts(Numpy(Other()), small, tmp_path / "b", 2)
    for name in ("part-00001-of-00002.faiss", "part-00001-of-00002.faiss.json"):
        shutil.copy(tmp_path / "b" / name, tmp_path / "a" / name)
    with pytest.raises(
        UserError, match=r"part-00001-of-00002.faiss is of another origin: training is .*; run `lit-knn index` again"
    ):
        numpy().merge(small, "late", tmp_path / "a")


def test_parts_of_several_cuttings(small, tmp_path):
    in_parts(numpy(), small, tmp_path, 2)
    in_parts(numpy(), small, tmp_path, 3)
    with pytest.raises(UserError, match="parts of several cuttings, of 00002 and of 00003: delete one"):
        numpy().merge(small, "late", tmp_path)


def test_a_part_before_training(small, tmp_path):
    with pytest.raises(UserError, match=r"trained.faiss is missing or was never finished; run `lit-knn index`"):
        numpy().add(small, "late", tmp_path, Partition(1, 2))


def test_missing_files(folder, small):
    (folder / "merged-000003.faiss.json").write_text("{")
    with pytest.raises(UserError, match="json is damaged"):
        numpy().open(small, "late", folder)
    (folder / "merged-000003.faiss.json").unlink()
    with pytest.raises(UserError, match="missing or was never finished; run `lit-knn index`"):
        numpy().open(small, "late", folder)


def test_cut_short(folder, small):
    path = folder / "merged-000003.faiss"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"has \d+ of \d+ bytes"):
        numpy().open(small, "late", folder)


def test_another_stores_index_is_refused(folder, store):
    with pytest.raises(UserError, match=r"is of another origin: .*store is "):
        numpy().open(store, "late", folder)


def test_lists_that_are_cut_are_refused_before_anything_maps_them(small, tmp_path):
    index = Faiss(factory="IVF4,Flat")
    in_parts(index, small, tmp_path, 2)
    index.merge(small, "late", tmp_path)
    path = tmp_path / "merged-000003.ivfdata"
    index.open(small, "late", tmp_path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"merged-000003\.ivfdata has \d+ of \d+ bytes; run"):
        index.open(small, "late", tmp_path)
    index.build(small, "late", tmp_path)  # which is what the sentence asks for
    index.open(small, "late", tmp_path)
