import numpy as np
import pytest
import torch

from lit_knn.database.index import Selection
from lit_knn.database.index.coded_rows import CodedRows, _spread
from lit_knn.distributed.partition import WHOLE, Partition

CPU = torch.device("cpu")


def test_what_is_sifted_out_is_not_among_the_nearest(store, queries, monkeypatch):
    monkeypatch.setattr("lit_knn.database.index.coded_rows.SAMPLE", 200)
    coded = CodedRows(store, "late", WHOLE, CPU)
    rows = store.features("late", np.arange(len(store)))
    assert 0 < len(coded.far) < 1000
    assert np.array_equal(coded.far_vectors.numpy(), rows[coded.far])
    distances = np.linalg.norm(queries.numpy()[:, None].astype(np.float64) - rows, axis=2)
    for among in (None, Selection.of(np.random.default_rng(0).permutation(len(store))[:3000], len(store))):
        sieve = coded.sift(queries, 10, among)
        allowed = np.arange(len(store)) if among is None else among.ids()
        near = allowed[distances[:, allowed].argsort(axis=1)[:, :10]]  # (N, K)
        found = [set(coded.ids[sieve.row[sieve.query == number]].tolist()) for number in range(len(queries))]
        assert all(set(row.tolist()) - set(coded.far.tolist()) <= kept for row, kept in zip(near, found, strict=True))
        assert sum(map(len, found)) < 0.1 * len(queries) * len(store)
        assert set.union(*found) <= set(allowed.tolist())
        assert np.array_equal(coded.vectors(sieve.row).numpy(), rows[coded.ids[sieve.row]])


def test_a_share_may_have_no_rows(store, queries):
    coded = CodedRows(store, "late", Partition(1, 30), CPU)
    assert len(coded.ids) == len(coded.far) == len(coded.sift(queries, 10, None).row) == 0


def test_what_is_held_is_what_the_store_has(store, monkeypatch):
    """Also of rows beyond the grid, and after rows have moved; a CPU has it mapped."""
    monkeypatch.setattr("lit_knn.database.index.coded_rows.SAMPLE", 200)
    assert CodedRows(store, "late", WHOLE, CPU).held(torch.arange(3)) is None
    monkeypatch.setattr("lit_knn.database.index.coded_rows.HOLDING", ("cpu",))
    for share in (WHOLE, Partition(2, 3)):
        coded = CodedRows(store, "late", share, CPU)
        assert len(coded.far)
        coded.sift(torch.zeros(1, 64), 10, Selection.of(np.arange(0, len(store), 3), len(store)))
        ids = torch.cat([coded.far, coded.ids])[:1000].view(10, 100)
        assert np.array_equal(coded.held(ids), store.features("late", ids.numpy()))


@pytest.mark.parametrize("most", [5, 50])
@pytest.mark.parametrize(
    "runs", [[range(60)], [range(60), range(80, 2000)], [range(3, 4), range(9, 9), range(90, 400)]]
)
def test_a_spread_has_rows_of_all_runs(runs, most, monkeypatch):
    monkeypatch.setattr("lit_knn.database.index.coded_rows.SPREAD", most)
    found, rows = _spread(runs, CPU).tolist(), sum(map(len, runs))
    assert len(found) <= min(most, rows / 16) + len(runs)
    assert all(any(row in run for row in found) for run in runs if run)
    assert all(any(row in run for run in runs) for row in found)
    assert len(set(found)) == len(found)
    assert _spread([], CPU).tolist() == []
