import importlib.metadata
import sys
from types import ModuleType

import pytest

from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.errors import UserError


@pytest.fixture(autouse=True)
def _forget():
    load_faiss.cache_clear()
    yield
    load_faiss.cache_clear()


def test_finds_faiss():
    assert load_faiss() is sys.modules["faiss"]


def test_names_the_extras_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"pip install lit_knn\[cpu\].*lit_knn\[gpu\]"):
        load_faiss()


def test_an_emptied_package_is_not_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", ModuleType("faiss"))
    with pytest.raises(UserError, match="FAISS is broken"):
        load_faiss()


def test_warns_of_two_wheels(monkeypatch):
    wheels = {"faiss": ["faiss-gpu", "faiss-cpu"]}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: wheels)
    with pytest.warns(UserWarning, match="faiss-cpu and faiss-gpu are installed and overwrite each other"):
        load_faiss()


def test_one_wheel_listed_twice_is_one(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"faiss": ["faiss-cpu", "faiss-cpu"]})
    load_faiss()
