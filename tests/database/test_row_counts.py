import pytest

from lit_knn.database import require_row_count, row_count
from lit_knn.errors import UserError


@pytest.mark.parametrize(
    ("size", "count"), [(None, 1297), (1, 1), (500, 500), (500.0, 500), (0.5, 648), (0.0001, 1), (5000, 5000)]
)
def test_numbers_shares_and_all(size, count):
    require_row_count("rows", size)
    assert row_count(size, 1297) == count


@pytest.mark.parametrize("size", [0, -1, 1.5, -0.5, 1.0])
def test_what_is_none_of_them_is_refused(size):
    with pytest.raises(UserError, match=rf"^rows is {size}[;,]"):
        require_row_count("rows", size)
