from collections import namedtuple

import numpy as np
import pytest

from lit_knn.database.index import Faiss, Selection
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError

K = 20
usage = namedtuple("usage", ["total", "used", "free"])
MERGEABLE = [
    "Flat",
    "SQ8",
    "IVF16,Flat",
    "IVF16,SQ8",
    "PCA16,IVF16,SQfp16",
    "IVF16,RaBitQ,Refine(SQ8)",
]


@pytest.mark.parametrize("factory", MERGEABLE)
def test_merged_parts_answer_like_an_index_made_at_once(factory, store, queries, tmp_path):
    """Parts of different sizes, one of them empty."""
    index = Faiss(
        factory=factory, search_parameters={"nprobe": 8} if "IVF" in factory else {}, training_rows=4000, device="cpu"
    )
    index.build(store, "late", tmp_path / "whole")
    index.train(store, "late", tmp_path / "parts")
    for number in (1, 2, 3):
        index.add(store, "late", tmp_path / "parts", Partition(number, 3))
    index.merge(store, "late", tmp_path / "parts")
    whole, merged = (index.open(store, "late", tmp_path / name) for name in ("whole", "parts"))
    every_third = Selection.of(np.arange(0, len(store), 3), len(store))
    for among in (None, every_third):
        expected, found = whole.search(queries, K, among), merged.search(queries, K, among)
        same = found.ids == expected.ids
        assert same.all() or factory.startswith("PCA")  # whose rounding depends on the size of blocks
        assert same.double().mean() > 0.99
        np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-4)
    assert (tmp_path / "parts" / "merged-000003.ivfdata").exists() == ("IVF" in factory)


@pytest.mark.parametrize(("factory", "why"), [("HNSW8", "not implemented"), ("IVF16,PQ8x4fs", "fast scan")])
def test_what_cannot_be_merged_says_so_and_keeps_its_parts(factory, why, store, queries, tmp_path):
    index = Faiss(factory=factory, training_rows=4000)
    index.train(store, "late", tmp_path)
    for number in (1, 2):
        index.add(store, "late", tmp_path, Partition(number, 2))
    with pytest.raises(UserError, match=rf"'{factory}' cannot be merged \(.*{why}.*\); build it without --part"):
        index.merge(store, "late", tmp_path)
    assert index.open(store, "late", tmp_path).search(queries, 3).ids.shape == (40, 3)


def test_a_disk_without_room_is_left_as_it_is(store, tmp_path, monkeypatch):
    index = Faiss(factory="IVF16,Flat", training_rows=4000)
    index.train(store, "late", tmp_path)
    for number in (1, 2):
        index.add(store, "late", tmp_path, Partition(number, 2))
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(0, 0, 1000))
    with pytest.raises(UserError, match=r"merging takes \d,\d+,\d+ bytes, and .* has 1,000 left"):
        index.merge(store, "late", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
