from itertools import product

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lit_knn.data import Digits
from lit_knn.errors import UserError


def test_splits_are_disjoint_complete_and_stratified() -> None:
    train, test, everything = (Digits(split=split).open_shard(0) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(everything)) == (1297, 500, 1797)
    assert not set(train.keys()) & set(test.keys())
    assert set(train.keys()) | set(test.keys()) == set(everything.keys())
    counts = np.bincount([test.read(row).label for row in range(500)])
    np.testing.assert_allclose(counts, np.bincount(load_digits().target) * 500 / 1797, atol=1)


def test_the_split_never_changes() -> None:
    assert list(Digits(split="test").open_shard(0).keys()[:3]) == ["digits/0000", "digits/0007", "digits/0012"]


def test_pixels() -> None:
    digits, shard = load_digits(), Digits(split="all").open_shard(0)
    sample = shard.read(7)
    assert isinstance(sample.image, np.ndarray)
    assert sample.image.dtype == np.uint8
    assert sample.label == digits.target[7]
    np.testing.assert_allclose(sample.image, np.repeat(digits.images[7][..., None], 3, 2) / 16 * 255, atol=0.5)


def test_unknown_split() -> None:
    with pytest.raises(UserError, match="train, test and all"):
        Digits(split="val")  # type: ignore[arg-type]


def test_all_digits_hold_those_of_each_split():
    sources = {split: Digits(split=split) for split in ("train", "test", "all")}
    for one, other in product(sources, sources):
        assert bool(sources[one].shared(sources[other])) == (one == other or "all" in (one, other))
