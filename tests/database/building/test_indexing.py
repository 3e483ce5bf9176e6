import logging

import numpy as np
import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.database.building import IndexBuilder
from lit_knn.database.index import Faiss, Sharded
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from tests.conftest import TAPS


@pytest.fixture
def over(database, tmp_path):
    """A database over the same store with another index, in a folder of its own."""

    def make(index):
        for name in ("store", "projection"):
            (tmp_path / name).symlink_to(database.path / name)
        return Database(path=tmp_path, taps=[Tap(**tap) for tap in TAPS], index=index)

    return make


def test_steps_in_jobs_are_the_same_as_all_at_once(over, gallery, classifier, data, caplog):
    changed = over(Faiss(factory="IVF8,Flat", search_parameters={"nprobe": 8}))
    with caplog.at_level(logging.INFO, "lit_knn"):
        for stage, part in (
            ("train", Partition()),
            ("add", Partition(2, 2)),
            ("add", Partition(1, 2)),
            ("merge", Partition()),
        ):
            IndexBuilder(changed, classifier, data).build(stage, part, {"late": 5})
    assert "index of late: finds 1.000 of the 5 nearest rows, in 200 trials" in caplog.text
    assert "index of early: finds 1.000 of the 50 nearest rows" in caplog.text
    features = torch.from_numpy(gallery.store.features("late", np.arange(0, 1297, 10)))
    found = changed.open(classifier, data)[-1].search("late", features, 5)
    expected = gallery.search("late", features, 5)
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.distances, expected.distances)


def test_an_index_of_another_origin_gives_way_only_where_it_may(over, classifier, data):
    changed = over(Faiss())
    IndexBuilder(changed, classifier, data).build("all", Partition(), {})
    before = {path: path.read_bytes() for path in (changed.path / "index").rglob("*") if path.is_file()}
    other = Database(path=changed.path, taps=[Tap(**tap) for tap in TAPS], index=Faiss(factory="SQ8"))
    IndexBuilder(other, classifier, data, replace=False).build("all", Partition(), {})
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(UserError, match="of another origin"):
        other.open(classifier, data)
    IndexBuilder(other, classifier, data).build("all", Partition(), {})
    other.open(classifier, data)


def test_a_sharded_index_keeps_its_parts(over, classifier, data):
    changed = over(Sharded(index=Faiss(), parts=3))
    IndexBuilder(changed, classifier, data).build("all", Partition(), {})
    assert len(list(changed.index_path("late").rglob("part-*.faiss"))) == 3
    assert changed.is_complete()


def test_an_index_that_cannot_search_a_part_of_the_rows_is_refused_when_it_is_opened(over, classifier, data):
    """Nothing has been attacked by then."""
    changed = over(Sharded(index=Faiss(factory="PQ4x4", training_rows=500), parts=2))
    IndexBuilder(changed, classifier, data).build("all", Partition(), {})
    changed.open(classifier, data)
    changed.rows = [300, None]
    with pytest.raises(UserError, match="'PQ4x4' cannot search a part of its rows"):
        changed.open(classifier, data)


def test_without_an_index_there_is_nothing_to_build(over, classifier, data, caplog):
    changed = over(None)
    with caplog.at_level(logging.INFO, "lit_knn"):
        IndexBuilder(changed, classifier, data).build("all", Partition(), {})
    assert "the store itself is searched, exactly" in caplog.text
    assert not (changed.path / "index").exists()
    assert changed.is_complete()


def test_parts_before_training(over, classifier, data):
    with pytest.raises(UserError, match=r"trained.faiss is missing or was never finished; run `lit-knn index`"):
        IndexBuilder(over(Faiss()), classifier, data).build("add", Partition(1, 2), {})
