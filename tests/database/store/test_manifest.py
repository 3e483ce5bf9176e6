import json
import re

import pytest

from lit_knn.database.store import Store, write_manifest
from lit_knn.errors import UserError
from tests.database.store.example import FINGERPRINT, rows, schema, write_shard, write_store


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


def mutations(manifest):
    """Each entry taken away, of another type, or of another value, wherever it is."""

    def walk(value, put):
        for other in (None, [], {}, "x", 7, -1, True, 1.5, "../a"):
            if other != value:
                yield put(other)
        if isinstance(value, (dict, list)):
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                rest = [*value[:key], *value[key + 1 :]] if isinstance(value, list) else {**value}
                if isinstance(value, dict):
                    del rest[key]
                yield put(rest)

                def put_inner(new, key=key):
                    changed = [*value] if isinstance(value, list) else {**value}
                    changed[key] = new
                    return put(changed)

                yield from walk(value[key], put_inner)

    yield from walk(manifest, lambda changed: changed)


def test_any_damage_to_a_manifest_is_refused_in_one_sentence_and_rewriting_it_mends_it(tmp_path):
    write_store(tmp_path, schema(), counts=(3, 2))
    path = tmp_path / "manifest.json"
    whole = path.read_text()
    texts = ["", "{", "[]", "3", "\xff", whole[:-20], "[" * 10_000]
    for text in (*texts, *map(json.dumps, mutations(json.loads(whole)))):
        path.write_text(text, encoding="latin-1")
        try:
            Store(tmp_path, fingerprint=FINGERPRINT)
        except UserError as error:
            sentence = str(error)
        else:
            pytest.fail(f"accepted: {text}")
        assert re.search(r"extract`? again|delete it or choose another", sentence), sentence
    write_manifest(tmp_path, [0, 1])
    assert path.read_text() == whole


def test_another_version_is_refused(tmp_path):
    write_store(tmp_path, schema())
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 5', '"schema_version": 4'))
    with pytest.raises(UserError, match="schema version 4, not 5; delete the store and extract again"):
        Store(tmp_path)
