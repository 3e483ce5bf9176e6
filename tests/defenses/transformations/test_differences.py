"""Differences against NumPy's, and their transpose against the definition of one."""

import numpy as np
import pytest
import torch

from lit_knn.defenses.transformations.differences import add_transposed, slopes

SIZES = [(5, 4), (1, 6), (6, 1), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_they_are_to_the_next_row_and_column_and_0_where_there_is_none(size):
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    found = slopes(x)
    for axis, part in ((2, found[:, 0]), (3, found[:, 1])):
        last = np.take(x.numpy(), [-1], axis=axis)
        assert np.array_equal(part, np.diff(x.numpy(), axis=axis, append=last))
    out = torch.zeros_like(found)
    assert slopes(x, out) is out
    assert torch.equal(out, found)


@pytest.mark.parametrize("size", SIZES)
def test_what_they_give_back_is_their_transpose(size):
    x, p = torch.rand(2, 3, *size, dtype=torch.float64), torch.rand(2, 2, 3, *size, dtype=torch.float64)
    p[:, 0, :, -1], p[:, 1, ..., -1] = 0, 0
    back = torch.ones_like(x)
    add_transposed(back, p, -0.5)
    assert ((back - 1) * x).sum().item() == pytest.approx(-0.5 * (p * slopes(x)).sum().item())
