from lit_knn.fingerprint import fingerprint_difference


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
