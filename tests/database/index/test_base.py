import pytest
import torch

from lit_knn.database.index import Index
from lit_knn.distributed.partition import WHOLE
from lit_knn.errors import UserError
from tests.database.index.test_opened import Numpy


def test_nothing_to_build_is_an_answer(small, tmp_path):
    """What a variant does not say is not done: `Numpy` has settings, is built, and opens."""
    Numpy().build(small, "late", tmp_path / "index")
    Numpy().tune(small, "late", tmp_path / "index", lambda opened: 1 / 0)
    assert not (tmp_path / "index").exists()


def test_the_whole_is_built_in_three_steps(small, tmp_path):
    class Steps(Numpy):
        def __init__(self):
            super().__init__()
            self.taken = []

        def train(self, *of):
            self.taken.append(("train", *of))

        def add(self, *of):
            self.taken.append(("add", *of))

        def merge(self, *of):
            self.taken.append(("merge", *of))

    index, of = Steps(), (small, "late", tmp_path)
    index.build(*of)
    assert index.taken == [("train", *of), ("add", *of, WHOLE), ("merge", *of)]


def test_what_is_built_depends_on_store_tap_and_settings(small, store):
    class Set(Numpy):
        @property
        def settings(self):
            return {"a": 1}

    assert Set().origin(small, "late") == {
        "store": small.checksum,
        "tap": "late",
        "dimension": 8,
        "settings": {"a": 1},
    }
    others = [Set().origin(store, "late"), Set().origin(small, "early"), Numpy().origin(small, "late")]
    assert Set().origin(small, "late") not in others
    with pytest.raises(UserError, match="no tap 'middle'; it has early, late"):
        Set().origin(small, "middle")


def test_opening_leaves_the_configuration_as_it_is(small, tmp_path):
    configuration = Numpy()
    before = dict(vars(configuration))
    opened = configuration.open(small, "late", tmp_path)
    assert opened.search(torch.zeros(2, 8), 1).ids.shape == (2, 1)
    assert vars(configuration) == before
    assert opened.index is configuration
    assert not hasattr(configuration, "search")


def test_it_is_told_from_others_by_its_public_attributes():
    index = Numpy(found=5)
    index._lock = object()  # which nothing tells from another
    assert index.identity() == {"found": 5}


def test_three_methods_make_a_variant():
    assert Index.__abstractmethods__ == {"settings", "is_built", "open"}
