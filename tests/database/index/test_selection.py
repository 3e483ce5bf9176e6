import numpy as np
import pytest
import torch

from lit_knn.database.index import Faiss, Selection, increments
from lit_knn.errors import UserError

K = 10
PARAMETERS = {  # factory: search parameters that leave some of what is near unfound
    "IVF16,Flat": {"nprobe": 5, "max_codes": 60},
    "IVF16,SQ8": {"nprobe": 2},
    "IVF16,PQ4x4": {"nprobe": 5, "max_codes": 60, "ht": 9},
    "IVF16,PQ4x4fs": {"nprobe": 2},
    "IVF16,RaBitQ": {"nprobe": 5, "max_codes": 60},
    "IVF16,RaBitQ,Refine(Flat)": {"nprobe": 5, "max_codes": 60, "k_factor_rf": 2},
    "PCA6,IVF16,PQ3x4,RFlat": {"nprobe": 5, "max_codes": 60, "k_factor_rf": 3},
    "IVF16_HNSW8,Flat": {"nprobe": 5, "quantizer_efSearch": 2},
    "IVF16_HNSW8,SQ8": {"nprobe": 5, "efSearch": 2},
    "HNSW4": {"efSearch": 12},
    "PCA6,HNSW4,RFlat": {"efSearch": 12, "k_factor_rf": 2},
}
COMPOSED = {  # factory: search parameters; one for each way in which FAISS takes a selector
    "Flat": {},
    "SQ8": {},
    "IVF16,Flat": {"nprobe": 16},
    "IVF16,PQ4x4": {"nprobe": 16},
    "IVF16,RaBitQ,Refine(Flat)": {"nprobe": 16, "k_factor_rf": 8},
    "PCA6,IVF16,Flat": {"nprobe": 16},
    "HNSW32": {"efSearch": 256},
}


@pytest.fixture(params=COMPOSED)
def index(request, small, tmp_path):
    index = Faiss(factory=request.param, search_parameters=COMPOSED[request.param], device="cpu")
    index.build(small, "late", tmp_path)
    return index.open(small, "late", tmp_path)


def test_only_some_rows_are_found_and_of_those_the_nearest(index, small):
    features = small.features("late", np.arange(len(small)))
    among = np.random.default_rng(0).random(len(small)) < 0.4
    chosen = Selection.of(np.flatnonzero(among), len(small))
    assert (len(chosen), chosen.ids().tolist()) == (among.sum(), np.flatnonzero(among).tolist())
    queries = torch.from_numpy(features[:20] + np.float32(0.01))
    found = index.search(queries, K, chosen).ids.numpy()
    assert among[found].all()
    distances = np.linalg.norm(queries.numpy()[:, None].astype(np.float64) - features, axis=2)  # (N, M)
    expected = np.where(among, distances, np.inf).argsort(axis=1)[:, :K]
    shared = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, expected, strict=True)])
    ((searcher, _),) = index.searcher.opened
    assert shared >= (1.0 if searcher.factory in ("Flat", "IVF16,Flat") else 0.6)
    everything = index.search(queries, K, Selection.of(np.arange(len(small)), len(small)))
    assert np.array_equal(everything.ids, index.search(queries, K).ids)


@pytest.mark.parametrize("factory", PARAMETERS)
def test_every_search_parameter_holds_among_some_rows_as_well(factory, small, tmp_path):
    """Among all of them, what is found is what is found without a selection, and not what more effort finds."""
    parameters = PARAMETERS[factory]
    queries = torch.from_numpy(small.features("late", np.arange(0, 300, 3)) + np.float32(0.2))
    every = Selection.of(np.arange(300), 300)
    found = {}
    Faiss(factory=factory).build(small, "late", tmp_path)
    for effort in (1, 1000):
        scaled = {name: min(effort * value, 1000) for name, value in parameters.items()}
        index = Faiss(factory=factory, search_parameters=scaled, device="cpu").open(small, "late", tmp_path)
        found[effort] = index.partial(queries, K)
        among = index.partial(queries, K, every)
        assert np.array_equal(among.ids, found[effort].ids)
        assert np.array_equal(among.distances, found[effort].distances)
    assert not np.array_equal(found[1].ids, found[1000].ids)


def test_fewer_rows_than_neighbors(small, tmp_path):
    index = Faiss(device="cpu")
    index.build(small, "late", tmp_path)
    index = index.open(small, "late", tmp_path)
    with pytest.raises(UserError, match="has 3 rows and cannot find k = 4"):
        index.search(torch.zeros(2, 8), 4, Selection.of(np.arange(3), len(small)))


def test_an_index_that_cannot_do_it_says_so(small, tmp_path):
    index = Faiss(factory="PQ4x4", device="cpu")
    index.build(small, "late", tmp_path)
    index = index.open(small, "late", tmp_path)
    with pytest.raises(UserError, match="'PQ4x4' cannot search a part of its rows"):
        index.search(torch.zeros(2, 8), 4, Selection.of(np.arange(30), len(small)))


def test_what_is_outside_of_a_selection():
    chosen = np.array([0, 3, 8, 29])
    ids = np.array([[0, 1, 29], [-1, 8, 28]])
    assert Selection.of(chosen, 30).outside(ids).tolist() == [1, 28]


def test_a_part_of_a_selection():
    chosen = np.array([0, 3, 8, 9, 15, 16, 29])
    selection = Selection.of(chosen, 30)
    for rows in (range(30), range(8, 16), range(16, 30), range(24, 24), range(16, 27)):
        inside = [row - rows.start for row in chosen if rows.start <= row < -(-rows.stop // 8) * 8]
        assert selection.cut(rows).ids().tolist() == inside
    for rows in (range(3, 17), range(30), range(9, 10), range(5, 5)):
        assert selection.mask(rows).tolist() == [row in chosen for row in rows]


def test_rings_are_what_each_selection_adds():
    rows = 83
    order = np.random.default_rng(0).permutation(rows)
    nested = [Selection.of(order[:size], rows) for size in (5, 5, 40)]
    for selections in (nested, [*nested, None]):
        found = increments(selections, rows)
        ids = [increment.ids().tolist() for increment in found]
        assert (
            [len(increment) for increment in found] == [len(part) for part in ids] == [5, 0, 35, 43][: len(selections)]
        )
        assert sorted(row for part in ids for row in part) == sorted(order[: sum(map(len, ids))])
    assert increments([None], rows) == [None]
    with pytest.raises(ValueError, match="nothing can be added"):
        increments([None, None], rows)
