import pytest

from lit_knn.errors import UserError
from lit_knn.storage.origin import claim

ORIGIN = {"a": "1", "b": "two"}


@pytest.fixture
def again(tmp_path):
    """Claim a folder, as each process of each run does."""

    def call(origin=ORIGIN):
        claim(tmp_path / "x", origin, other="is of another case", remedy="choose another", damage="delete it")
        return tmp_path / "x" / "origin.json"

    return call


def test_the_first_says_what_a_folder_is_of_and_others_are_held_to_it(again):
    written = again().read_bytes()
    assert again().read_bytes() == written
    with pytest.raises(UserError, match=r"/x is of another case: a is '1' where '2' is expected; choose another"):
        again({"a": "2", "b": "two"})
    assert again().read_bytes() == written


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"a": 1}', b'{"a": ["1"]}', b"\xff\xfe", b'"a"'])
def test_damage_is_named_with_what_to_do(again, content):
    again().write_bytes(content)
    with pytest.raises(UserError, match=r"origin\.json is damaged .*; delete it"):
        again()


def test_a_flipped_byte_is_damage_and_not_another_origin(again):
    path = again()
    whole = path.read_bytes()
    for place in (place for place, byte in enumerate(whole) if byte not in b" \n"):  # JSON may have other white space
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"origin\.json is damaged"):
            again()
