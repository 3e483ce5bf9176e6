import pytest

from lit_knn.view_size import view_size


@pytest.mark.parametrize(
    ("wanted", "expected"), [(1, 1), (1.0, 1), (1297, 1297), (5000, 5000), (0.25, 324), (1e-9, 1), (0.9999, 1297)]
)
def test_a_number_or_a_share(wanted, expected):
    """Whether there are so many is for the database to say."""
    assert view_size(wanted, 1297) == expected
