"""How calls end, with a client that does as it is told, and with servers that are none."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lit_knn.database.index.milvus_connection import Connection
from lit_knn.errors import UserError
from tests.database.index.milvus_server import MilvusServer

pytestmark = pytest.mark.milvus
pymilvus = pytest.importorskip("pymilvus")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("lit_knn.database.index.milvus_connection.PAUSE", 0.01)


def failing(*codes):
    """A call that fails once with each code, then returns how often it was made."""
    made = []

    def call(client):
        made.append(client)
        if len(made) <= len(codes):
            raise pymilvus.MilvusException(code=codes[len(made) - 1], message=f"the {len(made)}th time")
        return len(made)

    return call


def test_a_server_that_went_away_is_waited_for():
    prepared = []
    connection = Connection("client", "http://x", 5.0)
    assert connection.ask("do it", failing(2, 65535, 101), before_again=prepared.append) == 4
    assert prepared == ["client"] * 3


def test_what_it_refuses_is_not_asked_again():
    with pytest.raises(UserError, match=r"^Milvus at http://x cannot do it \(the 1th time\); think$"):
        Connection(None, "http://x", 5.0).ask("do it", failing(65535), "think")
    assert Connection(None, "http://x", 5.0).ask("do it", failing(65535), insist=True) == 2


def test_a_server_that_stays_away():
    with pytest.raises(UserError, match=r"cannot do it \(the \d+th time\)$"):
        Connection(None, "http://x", 0.1).ask("do it", failing(*[2] * 1000))


class Loading:
    """A client whose collection is loaded, and indexed, as far as it is told, step by step."""

    def __init__(self, *progress):
        self.progress = list(progress)

    def load_collection(self, name, **_):
        pass

    def get_load_state(self, name, **_):
        now = self.progress.pop(0) if len(self.progress) > 1 else self.progress[0]
        states = pymilvus.client.types.LoadState
        return {"state": states.Loaded} if now == 100 else {"state": states.Loading, "progress": now}

    def describe_index(self, name, field, **_):
        now = self.progress.pop(0) if len(self.progress) > 1 else self.progress[0]
        states = {100: "Finished", -1: "Failed"}
        return {"state": states.get(now, "InProgress"), "pending_index_rows": 100 - now, "indexed_rows": now}


@pytest.mark.parametrize("step", ["load", "build"])
def test_what_takes_long_may_as_long_as_it_goes_on(step):
    client = Loading(*range(0, 101, 4))  # 26 pauses of .01 s
    getattr(Connection(client, "http://x", 0.01), step)("c")
    assert client.progress == [100]
    with pytest.raises(UserError, match=r"^Milvus at http://x cannot \w+ collection c: no progress for 0.1 s; its log"):
        getattr(Connection(Loading(0, 50), "http://x", 0.01), step)("c")


def test_an_index_that_cannot_be_built():
    with pytest.raises(UserError, match="cannot index collection c: its log says why"):
        Connection(Loading(-1), "http://x", 1.0).build("c")


@contextmanager
def answering(**answers):
    """A gRPC server with an answer to each method; its URI."""
    import grpc

    class Answer(grpc.GenericRpcHandler):
        def service(self, details):
            answer = answers[details.method.rpartition("/")[2]]
            return grpc.unary_unary_rpc_method_handler(lambda *_: answer.SerializeToString())

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Answer()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None)


@pytest.mark.parametrize(
    ("version", "accepted"), [("v2.2.16", False), ("1.9", False), ("v2.3.0-dev", True), ("3.1", True)]
)
def test_a_server_that_is_too_old(version, accepted):
    from pymilvus.grpc_gen import milvus_pb2

    connected = milvus_pb2.ConnectResponse(identifier=1)
    with answering(Connect=connected, GetVersion=milvus_pb2.GetVersionResponse(version=version)) as uri:
        if accepted:
            with Connection.to(uri, None, 5.0) as connection:
                assert connection.uri == uri
        else:
            with pytest.raises(UserError, match=rf"^Milvus at {uri} has version {version}; from 2\.3 is accepted$"):
                Connection.to(uri, None, 5.0)


def test_a_token(milvus_program, tmp_path, monkeypatch):
    with MilvusServer(tmp_path, milvus_program, token=True) as server:
        monkeypatch.setenv("TOKEN", "root:Milvus")
        with Connection.to(server.uri, "TOKEN", 20.0) as connection:
            assert not connection.has("c")
        monkeypatch.setenv("TOKEN", "root:hush-hush")
        with pytest.raises(
            UserError, match=r"cannot be reached \(.*\); .* index\.token_variable what holds"
        ) as refused:
            Connection.to(server.uri, "TOKEN", 5.0)
        assert "hush-hush" not in str(refused.value)
