"""Each thing that may be wrong with a database is found, and named."""

import copy
import json
import shutil

import h5py
import numpy as np
import pytest

from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.database.building.verification import findings, verify
from lit_knn.database.store import read_header
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import to_text
from tests.conftest import contents


@pytest.fixture
def database(database, tmp_path):
    """A copy to damage."""
    shutil.copytree(database.path, tmp_path / "copy")
    return Database(path=tmp_path / "copy", taps=list(database.taps.values()), index=database.index)


@pytest.fixture
def found(database, classifier, data):
    return lambda part=Partition(): list(findings(database, classifier, data, part))  # noqa: B008


SHARD = "shard-000000.h5"


def flip(path, offset):
    """Change one bit."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_a_sealed_database_is_fine_and_stays_as_it_is(database, classifier, data, found, capsys):
    before = contents(database.path)
    assert found() == []
    verify(database, classifier, data, Partition())
    assert capsys.readouterr().out == ""
    assert contents(database.path) == before


def test_one_changed_bit_in_any_column_is_found_and_the_column_named(database, found):
    header = read_header(database.store_path / SHARD)
    for name, dtype in header.schema.columns().items():
        for row in (0, header.rows - 1):
            place = header.offsets[name] + row * dtype.itemsize
            flip(database.store_path / SHARD, place)
            (finding,) = found()
            assert f"column {name} of store shard {database.store_path / SHARD} has changed" in finding
            flip(database.store_path / SHARD, place)
    assert found() == []


def test_every_finding_is_a_line_and_nothing_is_changed(database, classifier, data, capsys):
    header = read_header(database.store_path / SHARD)
    flip(database.store_path / SHARD, header.offsets["softmax"])
    flip(database.store_path / SHARD, header.offsets["label"])
    database.projection_path("early").write_text("no HDF5")
    flip(database.index_path("late") / "merged-000001.faiss", 5000)
    (database.store_path / f".{SHARD}.0-0-0.tmp").write_text("half")
    before = contents(database.path)
    with pytest.raises(UserError, match="5 findings"):
        verify(database, classifier, data, Partition())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    for words in ("early.h5 is damaged", "softmax", "label", "000001.faiss has changed", "was left by a process"):
        assert sum(words in line for line in lines) == 1
    assert contents(database.path) == before


def test_a_missing_manifest_and_missing_shards(database, found):
    (database.store_path / "manifest.json").unlink()
    assert "(0 of 1 shards are missing)" in found()[0]
    (database.store_path / SHARD).unlink()
    assert "(1 of 1 shards are missing)" in found()[0]


def test_a_missing_and_a_cut_shard(database, found):
    path = database.store_path / SHARD
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in found()[0]
    path.unlink()
    assert "is missing" in found()[0]


def test_a_shard_that_is_whole_but_not_the_one_of_the_manifest(database, found):
    manifest = json.loads((database.store_path / "manifest.json").read_text())

    def listed(**changed):
        entries = copy.deepcopy(manifest)
        entries["shards"][0] |= changed
        (database.store_path / "manifest.json").write_text(json.dumps(entries))
        return " ".join(found())

    assert "rows, size or columns differ" in listed(size=7)
    assert "is damaged (7 rows in the shards of 1297)" in listed(rows=7)
    assert "column label" in listed(sha256=manifest["shards"][0]["sha256"] | {"label": "0"})
    assert "is listed as shard 3" in listed(shard=3)
    with h5py.File(database.store_path / SHARD, "r+") as file:
        file.attrs["fingerprint"] = np.bytes_(to_text({"classifier": "another"}))
    assert "was made from something else: classifier is 'another'" in listed()


def test_a_database_of_other_images(database, classifier, data):
    other = ImageData(queries=data.queries, database=Digits(split="test"))
    assert any("dataset is" in finding for finding in findings(database, classifier, other, Partition()))


def test_a_part_reads_only_its_shards(database, found):
    flip(database.store_path / SHARD, read_header(database.store_path / SHARD).offsets["id"])
    assert len(found(Partition(1, 2))) + len(found(Partition(2, 2))) == 1


def test_the_last_bytes_of_a_long_column_count(database, found, monkeypatch):
    monkeypatch.setattr("lit_knn.database.store.schema.BLOCK", 1000)  # no divisor of any column
    header = read_header(database.store_path / SHARD)
    assert found() == []
    size = header.rows * np.dtype("<i8").itemsize
    flip(database.store_path / SHARD, header.offsets["id"] + size - 1)
    assert len(found()) == 1


def test_the_command_ends_with_code_2(built, database, mistake, capsys):
    built["model"]["database"]["path"] = str(database.path)
    database.projection_path("late").unlink()
    assert "1 finding in" in mistake("verify", built)
