import numpy as np
import pytest
import torch

from lit_knn.database.index import Binary, Milvus, Selection
from lit_knn.database.index.milvus_connection import Connection
from lit_knn.database.index.milvus_search import QUERIES, Collection
from lit_knn.database.index.milvus_vectors import VectorFormat
from lit_knn.database.random_order import RandomOrder
from lit_knn.errors import UserError
from tests.database.index.conftest import clustered
from tests.database.index.test_conformance import write

pytestmark = pytest.mark.milvus


class Hits(list):
    def __init__(self, query, ids):
        self.ids, self.distances = ids, [(row - float(query[0])) ** 2 for row in ids]
        super().__init__({"id": row, "distance": distance} for row, distance in zip(ids, self.distances, strict=True))


class Client:
    """A server whose rows are the numbers from 0, at as many places; what it is asked for is kept."""

    def __init__(self):
        self.asked = []

    def search(self, name, queries, **options):
        self.asked.append((name, len(queries), options))
        return [Hits(query, [3, 2, 1]) for query in queries]


def collection(client):
    pytest.importorskip("pymilvus")
    return Collection(Connection(client, "http://x", 5.0), "c", VectorFormat(bits=False), 4, {"ef": 7})


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


def test_a_window_of_the_order_is_a_range_and_any_other_rows_are_lists():
    client = Client()
    (view,) = RandomOrder(50_000, 4).selections([(100, 45_000)])
    collection(client).find(torch.zeros(1, 1), 3, view)
    (other,) = RandomOrder(50_000, 5).selections([(100, 20_101)])
    found = collection(client).find(torch.zeros(1, 1), 3, other)
    assert found.ids.tolist() == [[1, 1, 1]]  # as this server ignores filters
    view, *lists = (options["filter"] for _, _, options in client.asked)
    assert view == "rank >= 100 and rank < 45000"
    listed = [[int(row) for row in part.removeprefix("id in [")[:-1].split(",")] for part in lists]
    assert [len(part) for part in listed] == [10_000, 10_000, 1]
    assert [row for part in listed for row in part] == other.ids().tolist()


FLOATS = {  # Milvus's parameters to build and to search, with which it finds all of a few rows
    "FLAT": ({}, {}),
    "IVF_FLAT": ({"nlist": 8}, {"nprobe": 8}),
    "HNSW": ({"M": 32, "efConstruction": 300}, {"ef": 300}),
    "AUTOINDEX": ({}, {}),
}
WINDOWS = [(0, 30), (0, 150), (150, 300), (100, 220)]  # sizes of Figure 5, halves, an overlap


@pytest.mark.parametrize("index_type", FLOATS)
def test_views_are_the_store_s_to_the_row(engine, prefix, small, tmp_path, index_type):
    build, search = FLOATS[index_type]
    index = Milvus(
        uri=engine, collection=prefix, index_type=index_type, index_parameters=build, search_parameters=search
    ).ordered(3)
    index.build(small, "late", tmp_path)
    opened = index.open(small, "late", tmp_path)
    queries = torch.from_numpy(clustered(310, dimension=8)[300:])
    for view in RandomOrder(len(small), 3).selections(WINDOWS):
        (expression,) = opened.searcher._expressions(view)
        client, name = opened.searcher.server.client, opened.searcher.name
        rows = client.query(name, filter=expression, output_fields=["id"], consistency_level="Strong")
        assert sorted(row["id"] for row in rows) == view.ids().tolist()
        found = opened.search(queries, 10, view)
        vectors = small.features("late", view.ids()).astype(np.float64)
        distances = np.linalg.norm(queries.numpy()[:, None] - vectors, axis=2)
        expected = view.ids()[np.argsort(distances, axis=1)[:, :10]]
        assert np.mean([np.isin(one, other).mean() for one, other in zip(found.ids, expected, strict=True)]) > 0.97


@pytest.mark.parametrize("index_type", ["BIN_FLAT", "BIN_IVF_FLAT"])
def test_bits_are_what_binary_finds(server, prefix, tmp_path, index_type):
    (tmp_path / "store").mkdir()
    store = write(tmp_path / "store", clustered(3000, dimension=32))
    parameters = {"index_parameters": {"nlist": 8}, "search_parameters": {"nprobe": 8}} if "IVF" in index_type else {}
    index = Milvus(uri=server.uri, collection=prefix, index_type=index_type, **parameters)
    queries = torch.from_numpy(clustered(3100, dimension=32)[3000:])
    found = []
    for one in (index, Binary()):
        one.build(store, "bits", tmp_path / type(one).__name__)
        found.append(one.open(store, "bits", tmp_path / type(one).__name__).search(queries, 50))
    assert torch.equal(found[0].distances, found[1].distances)
    for ours, theirs, distances in zip(found[0].ids, found[1].ids, found[1].distances, strict=True):
        nearer = distances < distances[-1]  # which of those at the last distance are found is the server's choice
        assert set(ours[nearer].tolist()) == set(theirs[nearer].tolist())


def test_bits_are_no_part_of_milvus_lite(lite, tmp_path):
    (tmp_path / "store").mkdir()
    store = write(tmp_path / "store", clustered(3000, dimension=32))
    with pytest.raises(UserError, match="BinaryVector which MilvusLite does not support"):
        Milvus(uri=lite, index_type="BIN_FLAT").build(store, "bits", tmp_path)
