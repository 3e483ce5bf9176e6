"""What becomes of an index when its server is killed, or does not answer, and when several jobs build it."""

import multiprocessing
import shutil
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from lit_knn.database.index import Milvus
from lit_knn.database.index.milvus_connection import Connection
from lit_knn.database.store import Store
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from tests.conftest import small_disk
from tests.database.index.conftest import clustered, write_features
from tests.database.index.milvus_server import MilvusServer

pytestmark = pytest.mark.milvus
K = 20


@pytest.fixture
def index(server, prefix):
    """Whose server is well before and after."""
    yield Milvus(uri=server.uri, collection=prefix, index_type="FLAT", insert_rows=40, timeout=120)
    if not server.is_well():
        server.kill()
        server.start()


@pytest.fixture(scope="module")
def queries():
    return torch.from_numpy(clustered(310, dimension=8)[300:])


@pytest.fixture
def killing(server, monkeypatch):
    """A function that lets the server be killed before a call, and perhaps be started again."""

    def arrange(what, *, number=0, again):
        ask, seen = Connection.ask, []

        def asked(self, said, *arguments, **options):
            if said.startswith(what):
                seen.append(said)
                if len(seen) == number + 1:
                    server.kill()
                    if again:
                        server.launch()
            return ask(self, said, *arguments, **options)

        monkeypatch.setattr(Connection, "ask", asked)
        return seen

    return arrange


def reach(index):
    """Wait until gRPC tries again to reach a server; the next command would be another process, and try at once."""
    for _ in range(60):
        try:
            return index._connect().client.close()
        except UserError:
            time.sleep(1)
    raise TimeoutError(index.uri)


def finds_all(opened, store, queries):
    rows = store.features("late", np.arange(len(store))).astype(np.float64)
    distances = np.linalg.norm(queries.numpy()[:, None] - rows, axis=2)
    np.testing.assert_array_equal(opened.search(queries, K).ids, np.argsort(distances, axis=1)[:, :K])


@pytest.mark.parametrize(("what", "number"), [("take rows", 3), ("seal", 0), ("index", 2), ("load", 0)])
def test_a_server_that_is_started_again_is_waited_for(index, small, queries, tmp_path, killing, what, number):
    calls = killing(what, number=number, again=True)
    index.build(small, "late", tmp_path)
    assert len(calls) > number
    with index._connect() as server:
        assert server.count(index.collection_origin(small, "late")["collection"]) == len(small)
    finds_all(index.open(small, "late", tmp_path), small, queries)


def test_a_search_waits_as_well(index, small, queries, tmp_path, killing):
    index.build(small, "late", tmp_path)
    opened = index.open(small, "late", tmp_path)
    killing("search", again=True)
    finds_all(opened, small, queries)


@pytest.mark.parametrize(("what", "number"), [("take rows", 3), ("load", 0)])
def test_what_was_given_up_goes_on(index, server, small, queries, tmp_path, killing, what, number):
    """Nothing twice, nothing lost."""
    index.train(small, "late", tmp_path)
    killing(what, number=number, again=False)
    index.timeout = 15
    with pytest.raises(UserError, match=rf"^Milvus at {server.uri} cannot {what} .*collection test_\w+ \([^()]*\)"):
        index.build(small, "late", tmp_path)
    assert not index.is_built(tmp_path)
    server.start()
    index.timeout = 120
    reach(index)
    index.build(small, "late", tmp_path)
    with index._connect() as again:
        assert again.count(index.collection_origin(small, "late")["collection"]) == len(small)
    finds_all(index.open(small, "late", tmp_path), small, queries)


def test_a_server_that_does_not_answer(index, server, small, queries, tmp_path):
    index.build(small, "late", tmp_path)
    index.timeout = 2
    opened = index.open(small, "late", tmp_path)
    with (
        server.silent(),
        pytest.raises(UserError, match=rf"Milvus at {server.uri} cannot search collection .*Deadline"),
    ):
        opened.search(queries, K)
    opened.searcher.server.client.get_server_version(timeout=60)
    finds_all(opened, small, queries)


@pytest.fixture
def disk(tmp_path):
    """Which holds a server and little more."""
    with small_disk(tmp_path / "disk", "600m") as folder:
        yield folder


def test_a_full_disk(disk, milvus_program, prefix, queries, tmp_path):
    """On which this server ends. With room again, it and the command go on."""
    (tmp_path / "store").mkdir()
    store = write_features(tmp_path / "store", clustered(20_000, dimension=8))
    with MilvusServer(disk / "server", milvus_program) as server:
        index = Milvus(uri=server.uri, collection=prefix, index_type="FLAT", timeout=15)
        index.train(store, "late", tmp_path / "index")
        (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free - (1 << 19)))
        with pytest.raises(UserError, match=rf"^Milvus at {server.uri} cannot .*collection test_\w+ .*"):
            index.build(store, "late", tmp_path / "index")
        assert not index.is_built(tmp_path / "index")
        (disk / "other").unlink()
        server.kill()
        server.start()
        index.timeout = 120
        reach(index)
        index.build(store, "late", tmp_path / "index")
        with index._connect() as again:
            assert again.count(index.collection_origin(store, "late")["collection"]) == len(store)
        finds_all(index.open(store, "late", tmp_path / "index"), store, queries)


def add(index, folder, into, part):
    index.add(Store(folder), "late", into, part)


def test_several_jobs_add_their_parts_at_once(index, small, queries, tmp_path):
    index.train(small, "late", tmp_path)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(add, index, small.folder, tmp_path, Partition(number, 3)) for number in (3, 1, 2, 1)]
        for job in jobs:
            job.result(timeout=300)
    index.merge(small, "late", tmp_path)
    finds_all(index.open(small, "late", tmp_path), small, queries)


def test_more_neighbors_than_a_server_gives(index, tmp_path):
    (tmp_path / "store").mkdir()
    store = write_features(tmp_path / "store", clustered(16_400, dimension=8))
    index.insert_rows = 5000
    index.build(store, "late", tmp_path)
    opened = index.open(store, "late", tmp_path)
    rows = torch.from_numpy(store.features("late", np.arange(2)))
    assert opened.search(rows, 16_384).ids.shape == (2, 16_384)
    with pytest.raises(UserError, match=r"cannot search collection .*\(topk \[16385\] is invalid.*\[1, 16384\]"):
        opened.search(rows, 16_385)


@pytest.mark.parametrize(
    ("index_type", "parameters", "reason"),
    [("IVF_RABITQ", {"nlist": 8}, "invalid index type: IVF_RABITQ"), ("IVF_FLAT", {}, "nlist out of range")],
)
def test_an_index_that_the_server_does_not_know(server, prefix, small, tmp_path, index_type, parameters, reason):
    index = Milvus(uri=server.uri, collection=prefix, index_type=index_type, index_parameters=parameters)
    with pytest.raises(UserError, match=rf"\({reason}.*\); index.index_parameters takes .* all know FLAT, IVF_FLAT"):
        index.train(small, "late", tmp_path)


def test_an_index_that_the_server_knows_and_never_builds(server, prefix, tmp_path):
    """DISKANN, which the package's server has not enabled."""
    (tmp_path / "store").mkdir()
    store = write_features(tmp_path / "store", clustered(3000, dimension=8))
    index = Milvus(uri=server.uri, collection=prefix, index_type="DISKANN", timeout=6)
    with pytest.raises(UserError, match=r"cannot index collection .*: no progress for 60 s; .* has not enabled"):
        index.build(store, "late", tmp_path)
