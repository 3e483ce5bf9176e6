import json

import numpy as np
import pytest

from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import from_text
from lit_knn.storage.sidecar import changed_files, checked, describe_file, described, identity, is_described, whole


def write(path, text="content", **entries):
    with described(path, lambda: entries) as unfinished:
        unfinished.write_text(text)


def test_the_sidecar_knows_size_and_hash(tmp_path):
    write(tmp_path / "file", store="a")
    sidecar = json.loads((tmp_path / "file.json").read_text())
    assert (sidecar["store"], sidecar["size"], sidecar["sha256"][:8]) == ("a", 7, "ed7002b4")  # sha256sum's
    assert checked(tmp_path / "file", {"store": "a"}) == from_text(json.dumps(sidecar))
    assert is_described(tmp_path / "file", {"store": "a"})


def test_a_file_is_never_beside_the_description_of_another(tmp_path):
    path = tmp_path / "file"
    write(path, store="a")
    with pytest.raises(TypeError), described(path, lambda: {"store": "b"}) as unfinished:
        unfinished.write_text(None)
    assert (path.read_text(), is_described(path, {"store": "a"})) == ("content", True)
    seen = []
    with described(path, lambda: seen.append(describe_file(path).exists()) or {"store": "b"}) as unfinished:
        unfinished.write_text("other")
    assert seen == [True]
    assert not is_described(path, {"store": "a"})
    assert is_described(path, {"store": "b"})
    assert sorted(name.name for name in tmp_path.iterdir()) == ["file", "file.json"]


def test_what_is_not_there_or_not_whole_is_written_again(tmp_path):
    path = tmp_path / "file"
    assert not is_described(path, {})
    write(path)
    path.write_text("cut")
    assert not is_described(path, {})
    describe_file(path).write_text("{")
    assert not is_described(path, {})


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        ({"store": "b"}, "is of another origin: store is 'a' where 'b' is expected; run `lit-knn index` again"),
        ({"tap": "late"}, "tap is 'early' where 'late' is expected"),
        ({"rows": 3}, "rows is 'absent' where 3 is expected"),
    ],
)
def test_another_origin_is_named(expected, sentence, tmp_path):
    write(tmp_path / "file", store="a", tap="early")
    with pytest.raises(UserError, match=sentence):
        checked(tmp_path / "file", expected)


def mutations(content):
    """Return bytes that are not those of a sidecar: cut, empty, of another shape, with other types."""
    entries = json.loads(content)
    changed = [entries | {name: value} for name in entries for value in (None, [], {"a": 1}, float("nan"), "x", -1)]
    less = [{key: value for key, value in entries.items() if key != name} for name in entries]
    others = [[], [entries], {}, None, 3, "text", *changed, *less]
    return [b"", b"{", b"\xff\xfe", content[: len(content) // 2], *(json.dumps(other).encode() for other in others)]


def test_a_damaged_sidecar_is_named_and_its_file_written_again(tmp_path):
    expected = {"store": "a", "rows": [0, 8]}
    path = tmp_path / "file"
    write(path, **expected)
    good = describe_file(path).read_bytes()
    for damaged in mutations(good):
        describe_file(path).write_bytes(damaged)
        with pytest.raises(UserError, match=r"file.* run `lit-knn index`"):
            whole(path, expected)
        assert not is_described(path, expected)
    write(path, **expected)
    assert is_described(path, expected)


@pytest.mark.parametrize("size", [7, 10**7])
def test_a_file_of_the_same_size_is_another_file(size, tmp_path):
    """Opening it compares its ends and samples between; making it again, all of it."""
    content = np.random.default_rng(0).bytes(size)
    path = tmp_path / "a.faiss"
    with described(path, dict) as unfinished:
        unfinished.write_bytes(content)
    checked(path, {})
    for place in (0, size - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match=r"a.faiss has changed since it was sealed; run `lit-knn index` again"):
            checked(path, {})
    place = 3 * size // 7  # between samples
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert not is_described(path, {})
    assert len(list(changed_files(tmp_path))) == 1
    path.write_bytes(content)
    assert is_described(path, {})
    assert list(changed_files(tmp_path)) == []


def test_what_has_changed_or_gone_since_is_named(tmp_path):
    for name in ("a.faiss", "b.faiss", "c.faiss"):
        write(tmp_path / name)
    assert list(changed_files(tmp_path)) == []
    (tmp_path / "a.faiss").write_text("CONTENT")
    (tmp_path / "b.faiss").unlink()
    (tmp_path / "c.faiss").write_text("cut")
    changed, missing, cut = changed_files(tmp_path)
    assert "a.faiss has changed since it was sealed; run `lit-knn index` again" in changed
    assert "b.faiss is missing" in missing
    assert "c.faiss has 3 of 7 bytes" in cut


@pytest.mark.parametrize("name", ["", ".", "../other", "/other"])
def test_a_file_beside_it_that_lies_elsewhere_is_damage(name, tmp_path):
    path, lists = tmp_path / "file", tmp_path / "lists"
    lists.write_text("lists")
    write(path, lists={"lists": identity(lists)})
    checked(path, {})
    sidecar = describe_file(path)
    sidecar.write_text(sidecar.read_text().replace('"lists": {\n  "lists"', f'"lists": {{\n  "{name}"'))
    with pytest.raises(UserError, match=r"file\.json is damaged \(.*\); run `lit-knn index` again"):
        checked(path, {})
