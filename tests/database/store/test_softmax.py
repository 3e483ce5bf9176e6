import numpy as np
import pytest

from lit_knn.database.store.softmax import pack, packed_dtype, unpack, vote_dtype, votes
from lit_knn.errors import UserError


def largest_by_hand(row, listed):
    return sorted(range(len(row)), key=lambda index: (-row[index], index))[:listed]


@pytest.mark.parametrize("num_classes", [1, 2, 20, 21, 22, 100, 1000])
@pytest.mark.parametrize("concentration", [0.01, 1.0])
def test_packs_the_largest_classes_of_a_row_in_falling_order(num_classes, concentration):
    rng = np.random.default_rng(num_classes)
    softmax = rng.dirichlet(np.full(num_classes, concentration), 40).astype(np.float32)
    records = pack(softmax)
    for row, record in zip(softmax, records, strict=True):
        expected = largest_by_hand(row, min(21, num_classes))
        assert record["class"].tolist() == expected
        np.testing.assert_array_equal(record["probability"], row[expected].astype(np.float16))


def test_a_row_votes_as_it_is_stored_the_lower_of_equal_classes():
    softmax = np.array([[0.1, 0.44999, 0.45001], [0.3, 0.2, 0.5], [0.5, 0.0, 0.5]], np.float32)  # the first two round
    assert votes(softmax.astype(np.float16)).tolist() == [1, 2, 0]
    assert votes(pack(softmax)).tolist() == [2, 2, 0]
    assert [vote_dtype(classes).itemsize for classes in (2, 65_536, 65_537)] == [2, 2, 4]


def test_equal_probabilities_list_the_lower_class_first():
    rng = np.random.default_rng(0)
    softmax = (rng.integers(0, 4, (200, 60)) / 64).astype(np.float32)  # ties everywhere, many exact zeros
    for row, record in zip(softmax, pack(softmax), strict=True):
        assert record["class"].tolist() == largest_by_hand(row, 21)


def test_negative_zero_is_zero():
    softmax = np.array([[-0.0, 0.0, 1.0, -0.0]], np.float32)
    assert pack(softmax)[0]["class"].tolist() == [2, 0, 1, 3]


def test_values_that_float16_cannot_tell_apart_are_ordered_by_float32():
    softmax = np.array([[0.3, 0.3000001, 0.3999999]], np.float32)
    assert pack(softmax)[0]["class"].tolist() == [2, 1, 0]


def test_unpacked_rows_sum_to_one_and_keep_what_was_listed():
    rng = np.random.default_rng(1)
    softmax = rng.dirichlet(np.full(1000, 0.02), 50).astype(np.float32)
    unpacked = unpack(pack(softmax), 1000)
    assert unpacked.dtype == np.float32
    np.testing.assert_allclose(unpacked.sum(axis=1), 1, atol=1e-5)
    for row, short in zip(softmax, unpacked, strict=True):
        listed = largest_by_hand(row, 21)
        np.testing.assert_array_equal(short[listed], row[listed].astype(np.float16).astype(np.float32))
        others = np.delete(short, listed)
        np.testing.assert_allclose(others, (1 - short[listed].sum(dtype=np.float64)) / 979, atol=1e-9)


def test_few_classes_survive_packing_up_to_float16():
    softmax = np.random.default_rng(2).dirichlet(np.ones(10), 30).astype(np.float32)
    np.testing.assert_array_equal(unpack(pack(softmax), 10), softmax.astype(np.float16).astype(np.float32))


def test_no_rows():
    assert pack(np.empty((0, 30), np.float32)).shape == (0,)
    assert unpack(pack(np.empty((0, 30), np.float32)), 30).shape == (0, 30)


def test_the_highest_class_that_uint16_can_name():
    softmax = np.zeros((1, 65_536), np.float32)
    softmax[0, [0, 65_535]] = 0.5
    assert pack(softmax)[0]["class"][:3].tolist() == [0, 65_535, 1]
    with pytest.raises(UserError, match="65,537"):
        packed_dtype(65_537)


def test_a_record_of_a_thousand_classes_takes_84_bytes():
    assert packed_dtype(1000).itemsize == 84
