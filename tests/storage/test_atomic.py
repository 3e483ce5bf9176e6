import errno
import json
import os
import subprocess

import numpy as np
import pytest

from lit_knn.errors import UserError
from lit_knn.storage.atomic import (
    atomic_write,
    load_arrays,
    load_json,
    parse_json,
    remove_abandoned,
    unfinished_files,
    unfinished_name,
    write_arrays,
)


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
def small_disk(tmp_path):
    """A file system of 64 KiB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this process may not mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_keeps_the_old_file_and_nothing_half_named(small_disk):
    path = small_disk / "file"
    path.write_text("old")

    def too_much():
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(bytes(1 << 17))

    with pytest.raises(UserError, match="No space left"):
        too_much()
    assert [entry.name for entry in small_disk.iterdir()] == ["file"]
    assert path.read_text() == "old"
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(UserError, match="file cannot be written: Read-only"), atomic_write(path) as unfinished:
        unfinished.write_text("new")
    assert path.read_text() == "old"


# ---------------------------------------------------------------- damaged files

ARRAYS = {"id": np.arange(5), "hits": np.ones((2, 3), bool), "note": np.array("text")}


def mutations(whole):
    """Cuts, bytes of another kind in every place, and bits turned in each byte of a small file."""
    yield from (whole[:size] for size in range(0, len(whole), 7))
    yield from (
        b"",
        b"\0" * len(whole),
        b"<html>",
        b"version https://git-lfs",
        whole[::-1],
        whole + b"{",
        b"\xff\xfe\x01",
    )
    for place in range(len(whole)):
        for value in (0x00, 0xFF, whole[place] ^ 1, whole[place] ^ 0x20):
            yield whole[:place] + bytes([value]) + whole[place + 1 :]


def refusal(path, content, load, *form):
    """Return what is said of a file with this content, "" if it can be read."""
    path.write_bytes(content)
    try:
        load(path, "delete it", *form)
    except UserError as error:
        sentence = str(error)
    else:
        return ""
    assert sentence.startswith(f"{path} is damaged (")
    assert sentence.endswith("); delete it")
    return sentence


def test_arrays_of_any_bytes_are_read_or_refused_in_one_sentence(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS)
    sentences = [refusal(path, mutated, load_arrays) for mutated in mutations(path.read_bytes())]
    assert sum(bool(sentence) for sentence in sentences) > 500


def test_the_same_arrays_are_not_written_again(tmp_path):
    path = tmp_path / "file.npz"
    write_arrays(path, ARRAYS)
    first = path.stat()
    write_arrays(path, ARRAYS)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    name, *_ = ARRAYS
    write_arrays(path, ARRAYS | {name: np.asarray(ARRAYS[name]).ravel()[:0]})
    assert path.stat().st_ino != first.st_ino


def test_arrays_have_the_form_that_is_asked_for(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS)
    assert {name: value.tolist() for name, value in load_arrays(path, "").items()} == {
        name: value.tolist() for name, value in ARRAYS.items()
    }
    assert list(load_arrays(path, "", {"id": ("int64", 1)})) == ["id"]
    for form in ({"id": ("int32", 1)}, {"id": ("int64", 2)}, {"label": ("int64", 1)}):
        with pytest.raises(UserError, match=r"a.npz is damaged \(.*(id|label).*\); delete it$"):
            load_arrays(path, "delete it", form)
    np.savez(path, id=np.array([{"a": "pickle"}], object))
    with pytest.raises(UserError, match=r"a.npz is damaged .*allow_pickle"):
        load_arrays(path, "delete it")
    np.save(path.with_name("b.npy"), np.arange(3))
    with pytest.raises(UserError, match=r"b.npy is damaged \(not an .npz file"):
        load_arrays(path.with_name("b.npy"), "delete it")
    with pytest.raises(UserError, match=r"none is missing; delete it$"):
        load_arrays(tmp_path / "none", "delete it")


FORM = {"version": int, "rows": int | None, "share": float, "names": {str: str}, "shards": [{"file": str}]}
VALID = {
    "version": 1,
    "rows": None,
    "share": 0.5,
    "names": {"a": "b"},
    "shards": [{"file": "x"}, {"file": "y"}],
    "+": 1,
}


def test_json_of_any_bytes_is_read_or_refused_in_one_sentence(tmp_path):
    path = tmp_path / "a.json"
    whole = json.dumps(VALID).encode()
    for mutated in (whole, *mutations(whole), b"[" * 100_000, b"1" * 5000):
        if not refusal(path, mutated, load_json, FORM):
            found = load_json(path, "delete it", FORM)
            assert [set(shard) for shard in found["shards"]] == [{"file"}] * 2
            assert type(found["version"]) is int
    path.unlink()
    with pytest.raises(UserError, match=r"a.json is missing; delete it$"):
        load_json(path, "delete it")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": True}, r"content\['version'\] is bool, not int"),
        ({"version": "1"}, r"content\['version'\] is str, not int"),
        ({"rows": 1.5}, r"content\['rows'\] is float, not int \| None"),
        ({"names": {"a": 1}}, r"content\['names'\]\['a'\] is int, not str"),
        ({"names": ["a"]}, r"content\['names'\] is list, not dict"),
        ({"shards": [{"file": "x"}, {}]}, r"content\['shards'\]\[1\] has no 'file'"),
        ({"shards": [{"file": "x"}, "y"]}, r"content\['shards'\]\[1\] is str, not dict"),
    ],
)
def test_json_has_the_form_that_is_asked_for(change, why):
    assert parse_json(json.dumps(VALID), FORM) == VALID
    with pytest.raises(ValueError, match=why):
        parse_json(json.dumps(VALID | change), FORM)
    with pytest.raises(ValueError, match="content has no"):
        parse_json(json.dumps({name: value for name, value in VALID.items() if name not in change}), FORM)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(UserError, match=r"a.json cannot be read: Permission denied$"):
        load_json(tmp_path / "a.json", "delete it")
