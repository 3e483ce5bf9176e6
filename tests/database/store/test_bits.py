import numpy as np
import pytest

from lit_knn.database.store.bits import pack_signs, unpack_signs


def signs(*shape, seed=0):
    return np.random.default_rng(seed).choice(np.float32([-1, 1]), shape)


@pytest.mark.parametrize("shape", [(8,), (0, 16), (7, 8), (5, 3, 256)])
def test_there_and_back(shape):
    features = signs(*shape)
    codes = pack_signs(features)
    assert codes.dtype == np.uint8
    assert codes.shape == (*shape[:-1], shape[-1] // 8)
    back = unpack_signs(codes)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, features)


def test_the_first_sign_is_the_highest_bit():
    features = -np.ones((2, 16))
    features[0, 0] = features[1, 15] = 1
    assert pack_signs(features).tolist() == [[128, 0], [0, 1]]


def test_squared_distance_is_four_times_the_bits_that_differ():
    left, right = signs(20, 64), signs(30, 64, seed=1)
    squared = ((left[:, None] - right[None]) ** 2).sum(-1)
    hamming = [
        [sum((a ^ b).bit_count() for a, b in zip(x, y, strict=True)) for y in pack_signs(right).tolist()]
        for x in pack_signs(left).tolist()
    ]
    np.testing.assert_array_equal(squared, 4 * np.array(hamming))


def test_it_is_the_distance_of_a_binary_index_of_faiss():
    faiss = pytest.importorskip("faiss")
    base, query = signs(500, 256), signs(20, 256, seed=1)
    flat, binary = faiss.IndexFlatL2(256), faiss.IndexBinaryFlat(256)
    flat.add(base)
    binary.add(pack_signs(base))
    np.testing.assert_array_equal(flat.search(query, 500)[0], 4 * binary.search(pack_signs(query), 500)[0])
