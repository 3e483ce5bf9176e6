import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lit_knn.database.index import Milvus
from lit_knn.database.index.milvus_library import load_pymilvus, refusals
from lit_knn.errors import UserError


def test_the_extra_is_named_where_pymilvus_is_missing(monkeypatch):
    load_pymilvus.cache_clear()
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(UserError, match=r"pymilvus cannot be imported .*: `pip install lit_knn\[milvus\]`"):
        load_pymilvus()


@pytest.mark.milvus
def test_a_refusal_is_one_sentence():
    pymilvus = pytest.importorskip("pymilvus")
    with pytest.raises(UserError) as refused, refusals("http://host", "search", "raise nprobe"):
        raise pymilvus.MilvusException(code=7, message="two\n lines.")
    assert str(refused.value) == "Milvus at http://host cannot search (two lines); raise nprobe"
    with pytest.raises(UserError, match=r"cannot search \(ParamError\)$"), refusals("http://host", "search"):
        raise pymilvus.exceptions.ParamError(message="")
    traced = (
        "attempt #0: stack trace: /w/pkg/trace.go:51 a/tracer.StackTrace\n/w/services.go:116 a/(*Server).Flush: no node"
    )
    with pytest.raises(UserError, match=r"cannot seal \(attempt #0: no node\)$"), refusals("http://host", "seal"):
        raise pymilvus.MilvusException(message=traced)
    with pytest.raises(UserError, match=r"cannot seal \((many )+…\)$") as refused, refusals("http://host", "seal"):
        raise pymilvus.MilvusException(message="many " * 1000)
    assert len(str(refused.value)) < 400
    with pytest.raises(KeyError), refusals("http://host", "search"):
        raise KeyError("a bug")


@pytest.mark.milvus
def test_a_token_that_is_refused_is_one_sentence():
    grpc = pytest.importorskip("grpc")

    class Refuse(grpc.GenericRpcHandler):
        def service(self, details):
            code = grpc.StatusCode.UNAUTHENTICATED
            return grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(code, "the token is wrong"))

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Refuse()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        channel = grpc.insecure_channel(address)
        with channel, pytest.raises(UserError, match=r"search \(the token is wrong\)"), refusals("there", "search"):
            channel.unary_unary("/milvus.proto.milvus.MilvusService/Search")(b"")
        with pytest.raises(UserError, match=r"cannot be reached .*; index\.uri takes .*, index\.token_variable"):
            Milvus(uri=f"http://{address}", timeout=4)._connect()
    finally:
        server.stop(None)
