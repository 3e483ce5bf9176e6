import errno
import json

import numpy as np
import pytest

from lit_knn.errors import UserError
from lit_knn.storage.atomic import write_arrays
from lit_knn.storage.reading import load_arrays, load_json, parse_json

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
