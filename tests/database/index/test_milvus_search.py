import numpy as np
import pytest
import torch

from lit_knn.database.index import Selection
from lit_knn.database.index.milvus_search import QUERIES, Collection
from lit_knn.errors import UserError

pytestmark = pytest.mark.milvus


class Client:
    """A server whose rows are the numbers from 0, at as many places; what it is asked for is kept."""

    def __init__(self):
        self.asked = []

    def search(self, name, queries, **options):
        self.asked.append((name, len(queries), options))
        hits = [{"id": row, "distance": (row - query[0]) ** 2} for query in queries for row in (3, 2, 1)]
        return [hits[start : start + 3] for start in range(0, len(hits), 3)]


def collection(client):
    pytest.importorskip("pymilvus")
    return Collection(client, "http://x", "c", {"ef": 7}, 5.0)


def test_distances_are_euclidean_nearest_first_and_nothing_comes_last():
    found = collection(Client()).find(torch.zeros(2, 1), 4, None)
    assert found.ids.tolist() == [[1, 2, 3, -1]] * 2
    assert found.distances.tolist() == [[1, 2, 3, np.inf]] * 2


def test_many_queries_go_in_several_messages():
    client = Client()
    queries = torch.linspace(0, 4, 2 * QUERIES + 3)[:, None]
    found = collection(client).find(queries, 3, Selection.of(np.array([1, 2, 3]), 9))
    assert [size for _, size, _ in client.asked] == [QUERIES, QUERIES, 3]
    assert torch.equal(found.ids[:, 0], (queries[:, 0] - 0.5).ceil().clamp(1, 3).long())
    _, _, options = client.asked[0]
    assert options["filter"] == "id in [1, 2, 3]"
    assert options["search_params"]["params"] == {"ef": 7}


def test_a_filter_has_an_end():
    many = Selection.of(np.arange(10_001), 20_000)
    with pytest.raises(UserError, match="searches all rows or up to 10,000 of them, not 10,001"):
        collection(Client()).find(torch.zeros(1, 8), 3, many)
