import numpy as np
import pytest

from lit_knn.errors import UserError
from lit_knn.index import Faiss


class Trainee:
    """An index that keeps what it is trained on."""

    def train(self, rows):
        self.rows = rows


@pytest.mark.parametrize(("training_rows", "usual", "expected"), [(None, 40, 40), (25, 40, 25), (None, 10**6, 300)])
def test_the_sample_is_as_large_as_asked_for_seeded_and_without_repetition(training_rows, usual, expected, small):
    """Of Faiss and of Binary, whose other parts test_factory.py and test_binary.py prove."""

    def sample(seed):
        trainee = Trainee()
        Faiss(training_rows=training_rows, seed=seed)._train_on(trainee, "Flat", small, usual, lambda ids: ids)
        return trainee.rows

    ids = sample(0)
    assert len(ids) == expected
    assert (np.diff(ids) > 0).all()
    assert np.array_equal(sample(0), ids)
    assert np.array_equal(sample(1), ids) == (expected == 300)


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "none").write_bytes(b"XXXX" * 9)
    with pytest.raises(UserError, match=r"none is damaged .*; run `lit-knn index` again"):
        Faiss()._opened(tmp_path / "none", 0)
