import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from lit_knn.database.store import ShardWriter, Store, hash_keys, read_header, sealed_header, shard_name, write_manifest
from lit_knn.errors import UserError
from tests.database.store.example import FINGERPRINT, rows, schema, write_shard


def writer(path, capacity=20, columns=None):
    return ShardWriter(path, capacity=capacity, schema=columns or schema(), fingerprint=FINGERPRINT)


def test_leaving_without_seal_leaves_nothing(tmp_path):
    path = tmp_path / "shard-000000.h5"
    with writer(path) as shard:
        shard.append(**rows(schema(), 4))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError), writer(path) as shard:
        shard.append(**rows(schema(), 4), more=None)
    assert list(tmp_path.iterdir()) == []
    assert sealed_header(path, FINGERPRINT) is None


def test_a_killed_process_leaves_nothing_readable(tmp_path):
    path = tmp_path / "store" / "shard-000000.h5"
    script = textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(__file__).rpartition("/store/")[0]!r})
        from pathlib import Path
        from store.example import FINGERPRINT, rows, schema
        from lit_knn.database.store import ShardWriter
        shard = ShardWriter(Path({str(path)!r}), capacity=20, schema=schema(), fingerprint=FINGERPRINT)
        shard.append(**rows(schema(), 12))
        shard._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not path.exists()
    assert sealed_header(path, FINGERPRINT) is None
    (left,) = path.parent.iterdir()
    assert left.name.startswith(".shard-000000.h5.")
    with pytest.raises(UserError, match=r"never finished|damaged"):
        read_header(left)
    with pytest.raises(UserError, match="missing"):
        write_manifest(path.parent, [0])
    write_shard(path.parent, 0, schema(), [rows(schema(), 12)])  # the next task is not in its way
    write_manifest(path.parent, [0])
    assert len(Store(path.parent)) == 12


def test_two_writers_of_one_shard_do_not_disturb_each_other(tmp_path):
    path = tmp_path / shard_name(0)
    first, second = writer(path, capacity=9), writer(path, capacity=9)
    first.append(**rows(schema(), 4, seed=1))
    second.append(**rows(schema(), 4, seed=1))
    first.append(**rows(schema(), 5, seed=2, first=4))
    first.seal()
    sealed_first = path.read_bytes()
    second.append(**rows(schema(), 5, seed=2, first=4))
    second.seal()
    assert path.read_bytes() == sealed_first  # the same rows: the same bytes, no times or names in the file
    assert list(tmp_path.iterdir()) == [path]


def test_how_rows_were_batched_does_not_matter(tmp_path):
    batch = rows(schema(), 10)
    halves = [
        {
            name: {key: value[part] for key, value in column.items()} if isinstance(column, dict) else column[part]
            for name, column in batch.items()
        }
        for part in (slice(0, 3), slice(3, 10))
    ]
    whole = write_shard(tmp_path, 0, schema(), [batch])
    split = write_shard(tmp_path, 1, schema(), halves)
    assert read_header(whole).sha256 == read_header(split).sha256


def test_skipped_images_leave_no_hole(tmp_path):
    failures = [(1, "bad.png", "cut short"), (5, "wörse.png", "not an image")]
    path = write_shard(tmp_path, 0, schema(), [rows(schema(), 4)], capacity=6, failures=failures)
    header = read_header(path)
    assert header.rows == 4
    assert list(header.skipped) == failures


def test_a_shard_of_something_else_is_not_taken_and_not_overwritten(tmp_path):
    path = write_shard(tmp_path, 0, schema(), [rows(schema(), 3)])
    assert sealed_header(path, FINGERPRINT) == read_header(path)
    with pytest.raises(UserError, match="classifier is 'abc' where 'other' is expected"):
        sealed_header(path, FINGERPRINT | {"classifier": "other"})


def test_a_shard_that_is_damaged_or_not_in_its_place_has_to_be_made(tmp_path, caplog):
    path = write_shard(tmp_path, 0, schema(), [rows(schema(), 3)])
    other = write_shard(tmp_path, 1, schema(), [rows(schema(), 3)])
    assert path.stat().st_size == other.stat().st_size
    whole = path.read_bytes()
    for content, why in ((other.read_bytes(), "holds the rows of shard-000001.h5"), (whole[:3000], "is damaged")):
        path.write_bytes(content)
        assert sealed_header(path, FINGERPRINT) is None
        assert why in caplog.text


def test_a_shard_without_some_images_of_its_source_cannot_be_sealed(tmp_path):
    with writer(tmp_path / shard_name(0), capacity=5) as shard:
        shard.append(**rows(schema(), 3))
        shard.skip((1, "bad.png", "cut short"))
        with pytest.raises(ValueError, match="4 images are not the 5"):
            shard.seal()
    assert not list(tmp_path.iterdir())


def test_the_keys_are_those_of_the_source_in_its_order(tmp_path):
    failures = [(5, "b.png", "cut short"), (1, "a.png", "cut short")]
    path = write_shard(tmp_path, 0, schema(), [rows(schema(), 3)], failures=failures)
    keys = ["köln/0-0.png", "a.png", "köln/0-1.png", "köln/0-2.png", "b.png"]  # rows 0, 1, 2, 4 and 5
    assert read_header(path).keys == hash_keys(keys) != hash_keys(keys[::-1])
    assert hash_keys(["ab", "c"]) != hash_keys(["a", "bc"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 70_000.0])
def test_features_that_float16_cannot_hold_are_refused(tmp_path, value):
    batch = rows(schema(), 4)
    batch["features"]["late"][2, 1] = value
    with writer(tmp_path / "s.h5") as shard, pytest.raises(UserError, match=r"late .*image 'köln/0-2.png'"):
        shard.append(**batch)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 0.5])
def test_bits_are_taken_of_signs_only(tmp_path, value):
    batch = rows(schema(bits=True), 4)
    batch["features"]["signs"][2, 1] = value
    columns = schema(bits=True)
    with (
        writer(tmp_path / "s.h5", columns=columns) as shard,
        pytest.raises(UserError, match=r"signs .*image 'köln/0-2"),
    ):
        shard.append(**batch)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 0.5])
def test_a_softmax_that_is_none_is_refused(tmp_path, value):
    batch = rows(schema(), 4)
    batch["softmax"][1, 3] += value
    with writer(tmp_path / "s.h5") as shard, pytest.raises(UserError, match=r"softmax .*image 'köln/0-1.png'"):
        shard.append(**batch)


def test_a_weight_that_is_not_finite_is_refused(tmp_path):
    batch = rows(schema(), 4)
    batch["weights"]["gap"][3] = np.nan
    with writer(tmp_path / "s.h5") as shard, pytest.raises(UserError, match=r"weight gap .*image 'köln/0-3.png'"):
        shard.append(**batch)


@pytest.mark.parametrize("key", ["x" * 25, "ö" * 13, "a\0"])
def test_a_key_that_would_not_come_back_is_refused(tmp_path, key):
    batch = rows(schema(), 2)
    batch["key"][1] = key
    with writer(tmp_path / "s.h5") as shard, pytest.raises(UserError, match="key"):
        shard.append(**batch)


def test_a_refused_batch_leaves_the_shard_as_it_was(tmp_path):
    good, bad = rows(schema(), 4, seed=1), rows(schema(), 4, seed=2)
    bad["weights"]["gap"][0] = np.nan
    alone = write_shard(tmp_path, 0, schema(), [good])
    with writer(tmp_path / shard_name(1), capacity=4) as shard:
        with pytest.raises(UserError):
            shard.append(**bad)
        shard.append(**good)
        shard.seal()
    assert read_header(alone).sha256 == read_header(tmp_path / shard_name(1)).sha256


def test_wrong_names_and_shapes_and_too_many_rows(tmp_path):
    batch = rows(schema(), 4)
    with writer(tmp_path / "s.h5", capacity=5) as shard:
        with pytest.raises(ValueError, match="not those of the schema"):
            shard.append(**batch | {"weights": {}})
        with pytest.raises(ValueError, match="softmax has shape"):
            shard.append(**batch | {"softmax": batch["softmax"][:, :-1]})
        with pytest.raises(ValueError, match="id has shape"):
            shard.append(**batch | {"ids": batch["ids"][:-1]})
        with pytest.raises(ValueError, match="late has shape"):
            shard.append(**batch | {"features": batch["features"] | {"late": np.zeros((4, 2), np.float32)}})
        shard.append(**batch)
        with pytest.raises(ValueError, match="8 rows are more than the 5"):
            shard.append(**batch)
