import json

import pytest

from lit_knn.errors import UserError
from lit_knn.store import Store, write_manifest

from .example import FINGERPRINT, rows, schema, write_shard, write_store


def test_lists_shards_in_order(tmp_path):
    write_store(tmp_path, schema(), counts=(7, 1, 12))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [entry["first_row"] for entry in manifest["shards"]] == [0, 7, 8]
    assert [entry["rows"] for entry in manifest["shards"]] == [7, 1, 12]
    assert manifest["rows"] == 20


def test_the_same_rows_have_the_same_checksum(tmp_path):
    for name in ("first", "second"):
        write_store(tmp_path / name, schema())
    write_store(tmp_path / "other", schema(), counts=(7, 1, 13))
    first, second, other = (Store(tmp_path / name).checksum for name in ("first", "second", "other"))
    assert first == second != other


def test_shards_that_do_not_belong_together_are_refused(tmp_path):
    write_shard(tmp_path, 0, schema(), [rows(schema(), 2)])
    write_shard(tmp_path, 1, schema(), [rows(schema(), 2)], fingerprint=FINGERPRINT | {"dataset": "letters"})
    with pytest.raises(UserError, match="dataset is 'letters' where 'digits' is expected"):
        write_manifest(tmp_path, [0, 1])
    write_shard(tmp_path, 1, schema(packed=True), [rows(schema(), 2)])
    with pytest.raises(UserError, match="columns are"):
        write_manifest(tmp_path, [0, 1])
    assert not (tmp_path / "manifest.json").exists()


def test_a_missing_shard_or_no_row_at_all_is_refused(tmp_path):
    write_shard(tmp_path, 0, schema(), [], failures=[(0, "a", "cut")])
    with pytest.raises(UserError, match=r"shard-000001\.h5 is missing"):
        write_manifest(tmp_path, [0, 1])
    with pytest.raises(UserError, match="no rows"):
        write_manifest(tmp_path, [0])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    write_store(tmp_path, schema())
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        Store(tmp_path)


def test_another_version_is_refused(tmp_path):
    write_store(tmp_path, schema())
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 3'))
    with pytest.raises(UserError, match="schema version 3, not 2"):
        Store(tmp_path)
