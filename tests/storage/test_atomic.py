import errno
import multiprocessing
import os
import subprocess
from functools import partial

import numpy as np
import pytest

from lit_knn.errors import UserError
from lit_knn.storage.atomic import (
    atomic_write,
    remove_abandoned,
    unfinished_files,
    unfinished_name,
    write_arrays,
    write_text,
)
from tests.conftest import small_disk


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file"
    with atomic_write(path) as unfinished:
        unfinished.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


def half_of_it(path):
    with atomic_write(path) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError("the power went")


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="the power went"):
        half_of_it(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_share_a_name(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the last to leave; each file is whole
    assert list(tmp_path.iterdir()) == [path]


def write_mine(path, number):
    write_text(path, str(number) * 100_000, first=True)


def test_one_of_many_writes_all_of_it_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "folder" / "a.json"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(partial(write_mine, path), range(8), chunksize=1)
    text = path.read_text()
    assert len(text) == 100_000
    assert len(set(text)) == 1
    assert os.listdir(path.parent) == ["a.json"]
    write_mine(path, "another")
    assert path.read_text() == text


# ---------------------------------------------------------------- what others have left


def left_by(folder, process, name="shard.h5"):
    path = unfinished_name(folder / name)
    path = path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{process}-"))
    path.write_text("half")
    return path


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_what_a_dead_process_has_left_goes_and_nothing_else(tmp_path, dead):
    abandoned, folder = left_by(tmp_path, dead), left_by(tmp_path, dead)
    folder.unlink()
    (folder / "found").mkdir(parents=True)
    mine, of_another_user = left_by(tmp_path, os.getpid()), left_by(tmp_path, 1)
    elsewhere = tmp_path / f".shard.h5.0123456789ab-{dead}-{'0' * 32}.tmp"
    for path in (elsewhere, tmp_path / ".other.tmp", tmp_path / "shard.h5"):
        path.write_text("kept")
    remove_abandoned(tmp_path)
    assert not abandoned.exists()
    assert not folder.exists()
    assert unfinished_files(tmp_path) == sorted([mine, of_another_user, elsewhere, tmp_path / ".other.tmp"])
    assert (tmp_path / "shard.h5").exists()
    remove_abandoned(tmp_path / "none")


# ---------------------------------------------------------------- disks


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_the_systems_refusal_is_one_sentence_with_the_path(tmp_path, code):
    def refused():
        with atomic_write(tmp_path / "file") as unfinished:
            unfinished.write_text("half")
            raise OSError(code, "a long story")

    with pytest.raises(UserError, match=f"file cannot be written: {os.strerror(code)}$"):
        refused()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "64k") as folder:
        yield folder


def test_a_full_disk_keeps_the_old_file_and_nothing_half_named(disk):
    path = disk / "file"
    path.write_text("old")

    def too_much():
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(bytes(1 << 17))

    with pytest.raises(UserError, match="No space left"):
        too_much()
    assert [entry.name for entry in disk.iterdir()] == ["file"]
    assert path.read_text() == "old"
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(UserError, match="file cannot be written: Read-only"), atomic_write(path) as unfinished:
        unfinished.write_text("new")
    assert path.read_text() == "old"


def test_the_same_arrays_are_not_written_again(tmp_path):
    path = tmp_path / "file.npz"
    arrays = {"id": np.arange(5), "note": np.array("text")}
    write_arrays(path, arrays)
    first = path.stat()
    write_arrays(path, arrays)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    write_arrays(path, arrays | {"id": np.arange(0)})
    assert path.stat().st_ino != first.st_ino
