import sys

import pytest

from lit_knn.errors import UserError
from lit_knn.index.milvus_library import load_pymilvus, refusals


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
    with pytest.raises(KeyError), refusals("http://host", "search"):
        raise KeyError("a bug")
