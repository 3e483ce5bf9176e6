import numpy as np
import pytest
import torch

from lit_knn.database.store import Store
from lit_knn.errors import UserError
from tests.database.store.example import FINGERPRINT, schema, write_store


@pytest.fixture(params=[False, True], ids=["dense", "packed"])
def store(request, tmp_path):
    write_store(tmp_path, schema(num_classes=30, packed=request.param))
    return Store(tmp_path, fingerprint=FINGERPRINT)


@pytest.fixture
def room(monkeypatch):
    """Let the CPU hold columns, up to some bytes."""

    def call(size):
        monkeypatch.setattr("lit_knn.database.store.held_columns.HOLDING", ("cpu",))
        monkeypatch.setattr("lit_knn.database.store.held_columns.room", lambda device: size)

    return call


def test_rows_that_are_held_are_those_of_the_store(store, room, monkeypatch):
    room(1 << 20)
    ids = torch.randint(len(store), (4, 5), generator=torch.Generator().manual_seed(0))
    names = ["softmax", "vote", "label", "weight/gap"]
    expected = {name: store.raw(name, ids.numpy()) for name in names}
    for name in names:
        store.held.rows(name, ids)
    monkeypatch.setattr(Store, "raw", None)
    monkeypatch.setattr(Store, "raw_blocks", None)
    for name in names:
        found = store.held.rows(name, ids)
        assert found.dtype == torch.uint8
        assert np.array_equal(found, expected[name])
        assert store.held.rows(name, ids[:, :0]).shape == (4, 0, store.width(name))


def test_what_has_no_room_or_lies_on_a_cpu_stays_mapped(store, room):
    ids = torch.arange(3)
    assert Store(store.folder).held.rows("label", ids) is None
    room(12 * len(store))
    assert store.held.rows("label", ids).shape == (3, 8)
    assert store.held.rows("weight/gap", ids).shape == (3, 4)
    assert store.held.rows("vote", ids) is None
    with pytest.raises(UserError, match="has no weight/hubness; it has"):
        store.held.rows("weight/hubness", ids)
