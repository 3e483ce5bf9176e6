import io

import numpy as np
import pytest
import torch

from lit_knn.errors import UserError
from lit_knn.evaluation.sample_results import SampleResultFiles, SampleResults

RUN = "0123456789abcdef"
SHAPE = (2, 4, 5, 1)
IDS = torch.tensor([4, 9, 2])


def results(n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hits = torch.randint(4, (2, 4, n, 5, 1), generator=generator, dtype=torch.int16)
    realized, normalized = (torch.rand(2, 4, n, generator=generator) for _ in range(2))
    passes = torch.randint(1000, (2, 4, n, 2), generator=generator)
    right, stored = realized[0, 0] > 0.5, realized[0, 0] > 0.9
    return SampleResults(hits, realized, normalized, right, stored, realized > 0.7, passes)


def read(files, ids=(4, 9, 2)):
    ((_, found),) = files.read([list(ids)])
    return found


@pytest.fixture
def written(tmp_path):
    files = SampleResultFiles(tmp_path / "results", RUN, SHAPE)
    files.write(IDS, results())
    return files


def test_what_was_written_is_read_by_a_later_process(written):
    found = read(SampleResultFiles(written.folder, RUN, SHAPE))
    assert all(torch.equal(one, other) for one, other in zip(found, results(), strict=True))
    assert [value.dtype for value in found] == [torch.int16, *[torch.float32] * 2, *[torch.bool] * 3, torch.int64]


def test_the_last_results_of_a_batch_count_and_only_of_those_that_are_asked_for(written):
    written.write(torch.tensor([7]), results(1))
    written.write(IDS, results(seed=1))
    assert torch.equal(read(written).hits, results(seed=1).hits)


def test_other_queries_another_run_and_other_lines_are_refused(written):
    with pytest.raises(UserError, match="is missing; run the same test again"):
        read(written, [4, 9])
    with pytest.raises(UserError, match=r"damaged .*of other queries or another run"):
        read(written, [4, 2, 9])
    with pytest.raises(UserError, match=r"damaged .*of other queries or another run"):
        read(SampleResultFiles(written.folder, RUN[::-1], SHAPE))
    with pytest.raises(UserError, match=r"is damaged .*not of this run's cases, lines and queries"):
        read(SampleResultFiles(written.folder, RUN, (2, 4, 6, 1)))


def test_a_batch_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    files = SampleResultFiles(tmp_path / "results", RUN, SHAPE)

    def full_disk(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(UserError, match="cannot be written: no space left on device"):
        files.write(IDS, results())
    assert not list(files.folder.iterdir())


def packed(arrays):
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **arrays)
    return file.getvalue()


DAMAGE = {
    "cut": lambda arrays, raw: raw[: len(raw) // 2],
    "empty": lambda arrays, raw: b"",
    "text": lambda arrays, raw: b"<html>not found</html>",
    "renamed": lambda arrays, raw: packed({f"{name}?": array for name, array in arrays.items()}),
    "shorter": lambda arrays, raw: packed(
        {name: array[..., :1] if array.ndim else array for name, array in arrays.items()}
    ),
    "other numbers": lambda arrays, raw: packed({name: array.astype(str) for name, array in arrays.items()}),
    "pickled": lambda arrays, raw: packed({name: np.array([{}]) for name in arrays}),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_named_with_what_to_do(written, how):
    (path,) = written.folder.glob("*.npz")
    with np.load(path) as file:
        path.write_bytes(DAMAGE[how](dict(file), path.read_bytes()))
    with pytest.raises(UserError, match=f"{path.name} is damaged .*; run the same test again"):
        read(written)


def test_batches_come_in_the_order_in_which_they_are_asked_for(written):
    written.write(torch.tensor([20, 21, 22]), results(seed=1))
    found = {ids[0]: part.hits for ids, part in written.read([[20, 21, 22], [4, 9, 2]])}
    assert list(found) == [20, 4]
    assert torch.equal(found[20], results(seed=1).hits)


def test_the_worst_case_keeps_only_what_no_case_breaks():
    hits = torch.tensor([[3, 2, 0], [1, 0, 1]], dtype=torch.int16).view(2, 1, 3, 1, 1)
    realized, each = torch.tensor([[[0.1, 0.3, 0.2]], [[0.2, 0.1, 0.2]]]), torch.ones(3) > 0
    worst = SampleResults(
        hits, realized, torch.ones(2, 1, 3), each, each, hits[..., 0, 0] > 0, hits[..., 0].long()
    ).worst_case()
    assert worst.hits.flatten().tolist() == [1, 0, 0]
    assert worst.realized.flatten().tolist() == pytest.approx([0.2, 0.3, 0.2])


def test_what_breaks_at_one_size_breaks_at_each_larger_one():
    hits = torch.tensor([[[1, 0, 1], [1, 1, 1], [1, 1, 0]], [[1, 0, 1], [1, 0, 1], [0, 1, 1]]], dtype=torch.int16)
    size = torch.zeros(2, 3, 3)
    worst = SampleResults(hits[..., None, None], size, size, *[None] * 4).worst_case()  # hits (A, E, N, V, T)
    assert worst.hits[0, ..., 0, 0].tolist() == [[1, 0, 1], [1, 0, 1], [0, 0, 0]]
