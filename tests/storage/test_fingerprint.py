import json

import pytest

from lit_knn.storage.fingerprint import digest, fingerprint_difference, from_text, to_text


def test_equal_fingerprints_differ_in_nothing():
    assert fingerprint_difference({}, {}) == ""
    assert fingerprint_difference({"a": "1", "b": "2"}, {"b": "2", "a": "1"}) == ""


def test_each_difference_is_named_with_both_values_in_a_fixed_order():
    expected, found = {"tap": "x", "data": "1", "same": "s"}, {"data": "2", "tap": "y", "same": "s"}
    assert (
        fingerprint_difference(expected, found) == "data is '2' where '1' is expected, tap is 'y' where 'x' is expected"
    )


def test_what_only_one_side_has_is_a_difference():
    assert fingerprint_difference({"tap": "x"}, {}) == "tap is 'absent' where 'x' is expected"
    assert fingerprint_difference({}, {"tap": "x"}) == "tap is 'x' where 'absent' is expected"


def test_values_differ_in_their_leaves():
    one, other = {"f": 1.0, "taps": ["a", "b"]}, {"f": 0.5, "taps": ["a"]}
    assert fingerprint_difference({"d": one}, {"d": other}) == (
        "d.f is 0.5 where 1.0 is expected, d.taps.1 is 'absent' where 'b' is expected"
    )


ALIKE = [{}, {"a": []}, {"a": {}}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None}, {"a": "absent"}]
ALIKE += [{"a": [1]}, {"a": {"0": 1}}, {"a.0": 1}, {"a": {"b": 1}}, {"a": "[1]"}]


@pytest.mark.parametrize("one", ALIKE)
def test_what_differs_at_all_is_told(one):
    for other in ALIKE:
        same = json.dumps(one) == json.dumps(other)
        assert (fingerprint_difference(one, other) == "") == same
        assert (digest(one) == digest(other)) == same


@pytest.mark.parametrize("fingerprint", ALIKE)
def test_what_is_read_back_is_what_was_written_or_damage(fingerprint):
    text = to_text(fingerprint)
    assert json.dumps(from_text(text)) == json.dumps(fingerprint)
    assert fingerprint_difference(fingerprint, from_text(text.encode())) == ""
    for damaged in (
        text.replace("checksum", "chicksum"),
        text.replace('"', "'"),
        text.replace("{", '{"b": 1, ', 1),
        "",
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - whoever reads a file says which
            from_text(damaged)


def test_a_digest_does_not_depend_on_the_order_of_names():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1}) != digest({"a": 1, "b": [3, 2]})
    assert digest({}, 32).startswith(digest({}))


def test_one_sentence_names_three_differences_and_counts_the_others():
    told = fingerprint_difference({str(number): "x" for number in range(9)}, {})
    assert told.count("is expected") == 3
    assert told.endswith(", and 6 more")
