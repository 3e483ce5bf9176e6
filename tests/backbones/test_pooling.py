import numpy as np
import pytest
import torch

from lit_knn.backbones.pooling import pool
from lit_knn.errors import UserError


@pytest.mark.parametrize(("side", "size"), [(56, 7), (28, 7), (14, 4), (7, 1)])  # the paper's Table 3
def test_maps_are_averaged_cell_by_cell(side, size):
    maps = torch.rand(2, 3, side, side, dtype=torch.float64)
    edges = [(int(np.floor(i * side / size)), int(np.ceil((i + 1) * side / size))) for i in range(size)]
    expected = [[maps[:, :, a:b, c:d].mean(dim=(2, 3)) for c, d in edges] for a, b in edges]
    expected = torch.stack([torch.stack(row, dim=-1) for row in expected], dim=-2).flatten(1)
    torch.testing.assert_close(pool(maps, size), expected)


def test_small_maps_keep_their_size_and_are_copied():
    maps = torch.rand(2, 3, 2, 2)
    pooled = pool(maps, 7)
    torch.testing.assert_close(pooled, maps.flatten(1))
    maps.zero_()
    assert pooled.abs().sum() > 0


def test_tokens_and_vectors():
    tokens = torch.rand(2, 5, 3)
    torch.testing.assert_close(pool(tokens, 1), tokens.mean(1))
    vectors = torch.rand(2, 3)
    pooled = pool(vectors, 1)
    vectors.zero_()
    assert pooled.abs().sum() > 0


@pytest.mark.parametrize("shape", [(2, 3, 4, 4, 4), (2,)])
def test_other_layouts_are_refused(shape):
    with pytest.raises(UserError, match="shape"):
        pool(torch.zeros(shape), 1)


def test_tokens_have_no_grid():
    with pytest.raises(UserError, match="pool: 1"):
        pool(torch.zeros(2, 5, 3), 2)
