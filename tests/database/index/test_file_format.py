import inspect
import logging

import pytest

from lit_knn.database.index.file_format import FileFormat
from tests.database.index.conftest import clustered, write_features
from tests.database.index.test_earlier import first
from tests.database.index.test_files import Numbers, Numpy


def test_it_is_none_that_can_be_made():
    assert inspect.isabstract(FileFormat)


@pytest.fixture
def grown(tmp_path):
    """A store of two shards, of which the first had an index; what has been trained and added since is counted."""

    def build(numbers):
        write_features(tmp_path / "store", clustered(30, dimension=8), [13])
        Numpy(numbers).build(first(tmp_path / "store", 1), "late", tmp_path / "index")
        numbers.trained, numbers.added = 0, []
        Numpy(numbers).build(first(tmp_path / "store", 2), "late", tmp_path / "index")
        return numbers

    return build


class Counted(Numbers):
    trained, added = 0, ()

    def train(self, store, tap, path):
        self.trained += 1
        return super().train(store, tap, path)

    def add(self, store, tap, trained, rows, path):
        self.added = [*self.added, rows]
        super().add(store, tap, trained, rows, path)


def test_by_default_new_rows_are_added(grown, caplog):
    with caplog.at_level(logging.INFO):
        numbers = grown(Counted())
    assert (numbers.trained, numbers.added) == (0, [range(13, 30)])
    assert "index of late: the store has grown, its training stays" in caplog.messages


def test_what_cannot_be_merged_gets_all_rows_by_the_same_training(grown):
    class Whole(Counted):
        def can_merge(self, trained):
            return False

    numbers = grown(Whole())
    assert (numbers.trained, numbers.added) == (0, [range(30)])


def test_a_training_that_does_not_suit_gives_way(grown, caplog):
    class Other(Counted):
        def train(self, store, tap, path):
            super().train(store, tap, path)
            path.write_text(f"trained on {len(store)}")
            return {"rows": len(store)}

        def suits(self, store, tap, chosen):
            return chosen == {"rows": len(store)}

    with caplog.at_level(logging.INFO):
        numbers = grown(Other())
    assert (numbers.trained, numbers.added) == (1, [range(30)])
    assert "index of late: the store has grown, its training gives way" in caplog.messages
