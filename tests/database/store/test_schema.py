import json
import random
import re

import h5py
import numpy as np
import pytest

from lit_knn.database.store import Schema, read_header
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import fingerprint_difference
from tests.database.store.example import FINGERPRINT, rows, schema, write_shard


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path, 0, schema(), [rows(schema(), 9)], failures=[(3, "a/b", "cut")])


@pytest.mark.parametrize(("packed", "bits"), [(False, False), (True, True)])
def test_json_and_back(packed, bits):
    columns = schema(packed=packed, bits=bits)
    assert Schema.from_json(json.loads(json.dumps(columns.to_json()))) == columns


def test_bits_take_an_eighth_of_a_byte():
    dimensions = {"floats": 256, "signs": 256}
    columns = Schema(10, dimensions, (), packed=False, key_width=1, bits=("signs",)).columns()
    assert {tap: columns[f"features/{tap}"].itemsize for tap in dimensions} == {"floats": 512, "signs": 32}


@pytest.mark.parametrize("bits", ["early", "no tap"])
def test_bits_that_fill_no_bytes_are_refused(bits):
    with pytest.raises(ValueError, match=f"bits of '{bits}'"):
        Schema(10, {"early": 12}, (), packed=False, key_width=1, bits=(bits,))


def test_header_says_what_is_in_the_file(shard):
    header = read_header(shard)
    assert (header.schema, header.fingerprint, header.rows) == (schema(), FINGERPRINT, 9)
    assert header.skipped == ((3, "a/b", "cut"),)
    assert header.size == shard.stat().st_size
    with h5py.File(shard, locking=False) as file:
        stored = file["features/late"][:9].tobytes()
    start = header.offsets["features/late"]
    assert shard.read_bytes()[start : start + len(stored)] == stored


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(UserError, match=r"shard-000003\.h5 is missing; run `lit-knn extract`"):
        read_header(tmp_path / "shard-000003.h5")


@pytest.mark.parametrize("keep", [0, 1, 100, 2000, -1])
def test_a_file_cut_short_is_refused(shard, keep):
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"is damaged.*; run `lit-knn extract` again"):
        read_header(shard)


def test_something_else_under_its_name_is_refused(shard):
    shard.write_text("not HDF5")
    with pytest.raises(UserError, match="is damaged"):
        read_header(shard)


def edit(path, name, value):
    with h5py.File(path, "r+", locking=False) as file:
        file.attrs[name] = np.bytes_(value.encode()) if value and isinstance(value, str) else value


def test_a_half_written_file_is_refused(shard):
    with h5py.File(shard, "r+", locking=False) as file:
        del file.attrs["complete"]
    with pytest.raises(UserError, match="was never finished"):
        read_header(shard)


def test_another_schema_version_is_refused(shard):
    edit(shard, "schema_version", 99)
    with pytest.raises(UserError, match="schema version 99, not 5"):
        read_header(shard)


VALUES = ["", "{", "{}", "[]", "3", '{"a": 1}', "text", 3, -1, 1.5, 10_000, [1, 2], b"\xff"]


@pytest.mark.parametrize("name", ["schema", "fingerprint", "rows", "name", "keys", "complete", "sha256/label"])
def test_any_damage_to_an_attribute_is_one_sentence(shard, name):
    whole = read_header(shard)
    with h5py.File(shard, locking=False) as file:
        original = file.attrs[name]
    for value in VALUES:
        edit(shard, name, value)
        try:
            found = read_header(shard)
        except UserError as error:
            sentence = str(error)
        else:  # another hash is for `verify` to find, another fingerprint for whoever expects one
            assert name in ("keys", "sha256/label", "complete", "fingerprint")
            assert (found.rows, found.schema) == (whole.rows, whole.schema)
            continue
        assert re.fullmatch(rf"store shard {shard} (is|was|holds) .*; run `lit-knn extract` again", sentence)
    edit(shard, name, original)
    with h5py.File(shard, "r+", locking=False) as file:
        del file.attrs[name]
    with pytest.raises(UserError, match=r"extract` again$"):
        read_header(shard)


def test_turned_bits_outside_of_the_columns_are_one_sentence_if_anything(shard):
    """HDF5 must have a checksum of all that it follows: it crashes, or reads for ever, where it has none."""
    whole, header = shard.read_bytes(), read_header(shard)
    columns = header.schema.columns()
    held = {header.offsets[name] + byte for name in columns for byte in range(9 * columns[name].itemsize)}
    places = [place for place in range(len(whole)) if place not in held]
    chance, refused = random.Random(0), 0
    for _ in range(200):
        mutated = bytearray(whole)
        for place in chance.sample(places, chance.choice([1, 1, 4])):
            mutated[place] = chance.choice([0, 255, mutated[place] ^ 1 << chance.randrange(8)])
        shard.write_bytes(mutated)
        try:
            assert read_header(shard).offsets == header.offsets
        except UserError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("content", ["", "{", "{}", "[3]", "[[1, 2]]", "\xff"])
def test_damage_to_the_list_of_images_left_out_is_one_sentence(shard, content):
    with h5py.File(shard, "r+", locking=False) as file:
        del file["skipped"]
        file["skipped"] = np.frombuffer(content.encode("latin-1"), np.uint8)
    with pytest.raises(UserError, match="is damaged"):
        read_header(shard)


@pytest.mark.parametrize(
    "entries", [{"num_classes": -3}, {"dimensions": {"late": -1}}, {"key_width": -1}, {"bits": ["late"]}, {"more": 1}]
)
def test_a_schema_that_is_none_is_refused(shard, entries):
    edit(shard, "schema", json.dumps(schema().to_json() | entries))
    with pytest.raises(UserError, match="is damaged"):
        read_header(shard)


@pytest.mark.parametrize("column", ["softmax", "features/early", "key", "skipped"])
def test_a_lost_or_changed_column_is_refused(shard, column):
    with h5py.File(shard, "r+", locking=False) as file:
        del file[column]
    with pytest.raises(UserError, match="is damaged"):
        read_header(shard)
    if column != "skipped":
        with h5py.File(shard, "r+", locking=False) as file:
            file[column] = np.zeros((10, 2), np.float64)
        with pytest.raises(UserError, match=f"column {column} is not"):
            read_header(shard)


def test_difference_names_every_entry_with_both_values():
    expected = {"classifier": "a", "tap late": "layer2", "dataset": "d"}
    found = {"classifier": "b", "dataset": "d", "extra": "x"}
    assert fingerprint_difference(expected, expected) == ""
    assert fingerprint_difference(expected, found) == (
        "classifier is 'b' where 'a' is expected, extra is 'x' where 'absent' is expected, "
        "tap late is 'absent' where 'layer2' is expected"
    )
