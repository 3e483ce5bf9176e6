import numpy as np

from lit_knn.database.index import Selection
from lit_knn.database.index.arrangement import MOST_CELLS, Arrangement


def test_each_selection_is_a_few_runs_of_ascending_rows():
    rng = np.random.default_rng(0)
    order, arrangement = np.arange(1000), Arrangement(1000)
    windows = [rng.permutation(1000)[: 100 * size] for size in (3, 9, 1)]
    for chosen in windows:
        among = Selection.of(chosen, 1000)
        assert not arrangement.knows(among)
        order = order[arrangement.admit(among, among.includes(order))]
        assert arrangement.knows(among)
    for among in [None, *(Selection.of(chosen, 1000) for chosen in windows)]:
        found = [order[run.start : run.stop] for run in arrangement.runs(among)]
        expected = np.arange(1000) if among is None else among.ids()
        assert np.array_equal(np.sort(np.concatenate(found)), expected)
        assert all((np.diff(run) > 0).all() for run in found)
        assert len(found) <= 8


def test_too_many_selections_make_it_forget_the_earlier_ones():
    rng = np.random.default_rng(0)
    order, arrangement = np.arange(5000), Arrangement(5000)
    selections = [Selection.of(rng.permutation(5000)[:2500], 5000) for _ in range(12)]
    for among in selections:
        order = order[arrangement.admit(among, among.includes(order))]
        assert len(arrangement.runs(None)) <= MOST_CELLS
    assert not arrangement.knows(selections[0])
    found = np.concatenate([order[run.start : run.stop] for run in arrangement.runs(selections[-1])])
    assert np.array_equal(np.sort(found), selections[-1].ids())
