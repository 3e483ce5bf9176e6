import numpy as np
import pytest
import torch

from lit_knn.backbones.features.symmetric_sum import Triangle


def integers(n=700, size=600, largest=100, seed=0):
    """Rows of three blocks, the last of them narrower."""
    rng = np.random.default_rng(seed)
    return rng.integers(-largest, largest + 1, (n, size))


def triangle_of(rows):
    triangle = Triangle(rows.shape[1], "cpu")
    triangle.add(torch.from_numpy(rows).float())
    return triangle


@pytest.mark.parametrize("largest", [100, 400, 1_000_000])
@pytest.mark.parametrize("size", [1, 256, 600])
def test_the_sums_are_those_of_integers(largest, size):
    """700 rows of up to 100 stay below 2²⁴, of 400 do after they were halved, of 10⁶ not one does."""
    rows = integers(size=size, largest=largest)
    triangle = triangle_of(rows)
    assert triangle.is_exact()
    np.testing.assert_array_equal(triangle.matrix().numpy(), rows.T @ rows)


@pytest.mark.parametrize(("count", "value"), [(1, 4095), (1, 4097), (16, 1023), (17, 1023), (257, 255), (260, 255)])
def test_the_last_integers_of_float32(count, value):
    """Sums just below 2²⁴ and just above; the columns are equal, so that all products add up in one direction."""
    rows = np.full((count, 3), value)
    rows[:, 1] *= -1
    np.testing.assert_array_equal(triangle_of(rows).matrix().numpy(), rows.T @ rows)


def test_wide_rows_are_multiplied_piece_by_piece(monkeypatch):
    monkeypatch.setattr("lit_knn.backbones.features.symmetric_sum.WIDTH", 100)
    rows = integers()
    np.testing.assert_array_equal(triangle_of(rows).matrix().numpy(), rows.T @ rows)


def test_a_coarser_precision_that_the_user_set_changes_nothing():
    rows = integers(largest=120)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = triangle_of(rows)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(found.matrix().numpy(), rows.T @ rows)


def test_only_the_upper_triangle_is_kept():
    size = 2560
    assert len(Triangle(size, "cpu").values) == (size**2 + 256 * size) // 2


def test_products():
    rows = integers()
    basis = torch.randn(600, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.from_numpy((rows.T @ rows).astype(np.float64)) @ basis
    torch.testing.assert_close(triangle_of(rows).times(basis), expected, rtol=1e-9, atol=1e-6)


def test_sums_that_float64_cannot_hold_are_known():
    assert not triangle_of(np.full((2, 300), 2**27)).is_exact()
