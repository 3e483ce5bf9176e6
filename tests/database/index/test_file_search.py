import numpy as np
import torch

from lit_knn.database.index import Selection, nearest
from lit_knn.database.index.file_search import Files, FileSearcher
from lit_knn.distributed.partition import Partition
from tests.database.index.conftest import found
from tests.database.index.test_files import folder, in_parts, numpy

__all__ = ["folder"]  # a fixture


def test_parts_are_searched_without_merging_by_any_number_of_processes(folder, small, tmp_path):
    in_parts(numpy(), small, tmp_path / "parts", 5)
    queries = torch.from_numpy(small.features("late", np.arange(0, 300, 17)) + np.float32(0.01))
    among = Selection.of(np.random.default_rng(0).permutation(300)[:90], 300)
    for selection in (None, among):
        expected = numpy().open(small, "late", folder).search(queries, 60, selection)
        for world in (1, 2, 3):
            shares = [
                numpy().open(small, "late", tmp_path / "parts", Partition(rank + 1, world)) for rank in range(world)
            ]
            answers = [share.partial(queries, 60, selection) for share in shares]
            assert np.array_equal(nearest(answers, 60).ids, expected.ids)
            assert np.array_equal(nearest(answers, 60).distances, expected.distances)
        assert (answers[0].ids == -1).any()  # 56 rows in the first of five parts


class Rough(FileSearcher):
    """What looks at every row, and rounds."""

    exact = True

    def __init__(self, rows):
        self.rows = rows

    def find(self, features, k, among):
        distances = np.linalg.norm(features.numpy()[:, None] - self.rows, axis=2).round(1)  # (N, M)
        ids = np.argsort(distances, axis=1)[:, :k]
        return found(ids, np.take_along_axis(distances, ids, axis=1))


def test_what_is_exact_but_for_rounding_is_looked_at_again(small):
    rows = small.features("late", np.arange(300))
    files = Files(small, "late", [(Rough(rows[:160]), range(160)), (Rough(rows[160:]), range(160, 300))])
    queries = rows[::50] + np.float32(0.01)
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - rows, axis=2)
    answer = files.find(torch.from_numpy(queries), 7, None)
    assert np.array_equal(answer.ids, distances.argsort(axis=1, kind="stable")[:, :7])
    assert np.array_equal(answer.distances, np.sort(distances, axis=1)[:, :7].astype(np.float32))
