import numpy as np
import pytest
import torch

from lit_knn.database.index.second_look import MOST, second_look
from tests.database.index.conftest import found

K = 10


def nearest(queries, rows, k):
    distances = np.linalg.norm(queries.numpy().astype(np.float64)[:, None] - rows, axis=2).astype(np.float32)
    ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return found(ids, np.take_along_axis(distances, ids, axis=1))


class Library:
    """Finds the nearest rows by distances that are off, and prefers the higher id."""

    def __init__(self, rows, error):
        self.rows, self.error, self.asked = rows, error, []

    def __call__(self, queries, k):
        self.asked.append((len(queries), k))
        ids, distances = (part.numpy() for part in nearest(queries, self.rows[::-1], len(self.rows)))
        ids = len(self.rows) - 1 - ids
        distances = distances * (1 + self.error * np.sin(ids)).astype(np.float32)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        more = ((0, 0), (0, k - order.shape[1]))
        return found(
            np.pad(np.take_along_axis(ids, order, axis=1), more, constant_values=-1),
            np.pad(np.take_along_axis(distances, order, axis=1), more, constant_values=np.inf),
        )


@pytest.mark.parametrize("copies", [1, 4, 300, 3000])
@pytest.mark.parametrize("error", [0, 1e-7, 1e-2])
def test_what_a_library_finds_by_its_own_rounding_becomes_exact(copies, error, monkeypatch):
    monkeypatch.setattr("lit_knn.database.index.second_look.PAIRS", 100)
    rng = np.random.default_rng(0)
    rows = np.tile(rng.normal(size=(6000 // copies, 8)), (copies, 1)).astype(np.float32)
    queries = torch.from_numpy(rows[:20] + np.float32(0.01))
    library, scanned = Library(rows, error), []

    def scan(queries, k):
        scanned.append(len(queries))
        return nearest(queries, rows, k)

    answer = second_look(queries, K, find=library, vectors=rows.__getitem__, scan=scan)
    expected = nearest(queries, rows, K)
    assert np.array_equal(answer.ids, expected.ids)
    assert np.array_equal(answer.distances, expected.distances)
    assert len(library.asked) == 2 or (len(library.asked) == 1 and copies < 10)
    assert library.asked[-1][1] <= MOST
    assert scanned == ([len(queries)] if copies > MOST else [])  # where there are more equal rows than a library gives
