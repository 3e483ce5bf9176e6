import pytest

from lit_knn.database.index.parts import named_parts, part_path, part_rows, sealed_parts
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError


@pytest.mark.parametrize(("rows", "count"), [(300, 1), (300, 7), (5, 3), (64, 8), (65, 8)])
def test_parts_are_all_rows_in_order_and_start_at_bytes(rows, count):
    parts = [part_rows(range(rows), Partition(number, count)) for number in range(1, count + 1)]
    assert [row for part in parts for row in part] == list(range(rows))
    assert all(part.start % 8 == 0 for part in parts if part)


def test_only_names_of_parts_are_parts(tmp_path):
    parts = [Partition(1, 3), Partition(3, 3)]
    for name in ("part-00004-of-00003.faiss", "part-00000-of-00003.faiss", "part-x-of-y.faiss", "trained.faiss"):
        (tmp_path / name).touch()
    for part in parts:
        part_path(tmp_path, part).touch()
    assert named_parts(tmp_path) == [(part_path(tmp_path, part), part) for part in parts]
    checked = []
    with pytest.raises(
        UserError, match="but part-00001-of-00003, part-00003-of-00003; run `lit-knn index` for the others"
    ):
        sealed_parts(tmp_path, {"tap": "a"}, range(48), lambda path, expected: checked.append(expected))
    assert checked == [{"tap": "a", "rows": [0, 16]}, {"tap": "a", "rows": [32, 48]}]
    part_path(tmp_path, Partition(2, 3)).touch()
    assert [rows for _, rows in sealed_parts(tmp_path, {}, range(48), lambda *_: None)] == [
        range(16),
        range(16, 32),
        range(32, 48),
    ]
