import numpy as np
import pytest
import torch

from lit_knn.database.index.milvus_vectors import VectorFormat
from tests.database.index.conftest import clustered
from tests.database.index.test_conformance import signs, write


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write(tmp_path_factory.mktemp("store"), clustered(3000, dimension=32))


@pytest.mark.parametrize("bits", [False, True])
def test_there_and_back(store, bits):
    vectors = store.features("bits" if bits else "floats", np.arange(20))
    sent = VectorFormat(bits).encoded(vectors)
    received = [[vector] for vector in sent] if bits else [vector.tolist() for vector in sent]  # as pymilvus does
    np.testing.assert_array_equal(VectorFormat(bits).decoded(received), vectors)


def test_bits_that_differ_are_euclidean_distances():
    one, other = signs(clustered(2, dimension=32))
    differ = torch.tensor([(one != other).sum()], dtype=torch.float64)
    assert VectorFormat(bits=True).euclidean(differ).item() == pytest.approx(np.linalg.norm(one - other))
    assert VectorFormat(bits=False).euclidean(torch.tensor([-1e-9, 4.0])).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("bits", "most", "bound", "largest"), [(False, 50, 2**25, 50), (False, 5000, 128 * 7, 7), (True, 5000, 4 * 9, 9)]
)
def test_no_message_is_too_long(store, monkeypatch, bits, most, bound, largest):
    monkeypatch.setattr("lit_knn.database.index.milvus_vectors.MESSAGE", bound)
    tap, within = "bits" if bits else "floats", range(1200, 1300)
    messages = list(VectorFormat(bits).messages(store, tap, within, most))
    assert max(len(vectors) for _, vectors in messages) == largest
    assert [row for rows, _ in messages for row in rows] == list(within)
    assert all(len(rows) == len(vectors) for rows, vectors in messages)
