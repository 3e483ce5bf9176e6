import h5py
import numpy as np
import pytest
import torch

from lit_knn.database.index import Neighbors, nearest
from lit_knn.errors import UserError
from lit_knn.evaluation.found_neighbors import CHUNK, FoundNeighbors

SHAPE = (2, 1500, 3)


def neighbors(seed):
    generator = np.random.default_rng(seed)
    distances = np.sort(generator.random(SHAPE, dtype=np.float32), axis=2)
    return Neighbors(torch.from_numpy(generator.integers(0, 10**9, SHAPE)), torch.from_numpy(distances))


def each(found, queries=slice(None)):
    """Return those of some queries, for each selection."""
    return [Neighbors(*(part[queries] for part in parts)) for parts in zip(*found, strict=True)]


@pytest.fixture
def file(tmp_path):
    file = FoundNeighbors(tmp_path / "found.h5", SHAPE)
    assert file.units == []
    file.add(3, [each(neighbors(0))])
    return file


@pytest.mark.parametrize("queries", [slice(0, 1), slice(CHUNK - 5, CHUNK + 5), slice(0, 1500)])
def test_some_queries_are_read_as_they_were_written(file, queries):
    assert file.units == [3]
    for found, written in zip(file.read(queries), neighbors(0), strict=True):
        assert found.dtype == written.dtype
        assert np.array_equal(found, written[:, queries])


@pytest.mark.parametrize("group", [pytest.param(1, marks=pytest.mark.slow), 700, 1500])
def test_units_are_merged_as_all_at_once_however_many_queries_come_at_a_time(group, file):
    more = neighbors(1)
    file.add(4, (each(more, slice(start, start + group)) for start in range(0, 1500, group)))
    assert file.units == [3, 4]
    expected = nearest([neighbors(0), more], SHAPE[2])
    assert all(np.array_equal(one, other) for one, other in zip(file.read(slice(None)), expected, strict=True))


def test_a_unit_of_which_the_search_fails_in_the_middle_changes_nothing(file):
    def found():
        yield each(neighbors(1), slice(0, 700))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        file.add(4, found())
    assert file.units == [3]
    assert np.array_equal(file.read(slice(None)).ids, neighbors(0).ids)


def test_no_flipped_bit_of_an_answer_goes_unnoticed(file, tmp_path):
    path = tmp_path / "found.h5"
    raw = path.read_bytes()
    for value in (neighbors(0).ids[1, 1400], neighbors(0).distances[0, 7]):
        place = raw.find(value.numpy().tobytes())
        assert place > 0
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(UserError, match=r"found\.h5 is damaged .*; delete it, and the same test searches"):
            file.read(slice(0, 1500))


def test_another_form_is_damage(file, tmp_path):
    for shape in ((2, 1500, 4), (2, 1499, 3), (1, 1500, 3)):
        with pytest.raises(UserError, match=r"is damaged \(ids is int64\(2, 1500, 3\)\)"):
            FoundNeighbors(tmp_path / "found.h5", shape).read(slice(0, 1))
    for name in ("ids", "distances", "units"):
        with h5py.File(tmp_path / "found.h5", "a") as opened:
            kept = opened[name][()]
            del opened[name]
            opened[name] = kept.astype("S8")
        with pytest.raises(UserError, match="is damaged"):
            file.units  # noqa: B018
        with h5py.File(tmp_path / "found.h5", "a") as opened:
            del opened[name]
        with pytest.raises(UserError, match="is damaged"):
            file.units  # noqa: B018
        (tmp_path / "found.h5").unlink()
        file.add(3, [each(neighbors(0))])
