"""Against a search for equal images, in NumPy."""

import numpy as np
import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import Query
from lit_knn.evaluation.overlap import in_database
from tests.conftest import TAPS, run, tiny

BITS = [{**tap, "bits": True} for tap in TAPS]
LONG = [{"layer": "layer3.1.add", "pool": 1, "dimension": 64, "bits": True, "name": "late"}]


@pytest.fixture(scope="module")
def pixels():
    from lit_knn.data import Digits

    shards = {split: Digits(split=split).open_shard(0) for split in ("train", "test")}
    return {split: np.stack([shard.read(row).image for row in range(len(shard))]) for split, shard in shards.items()}


@pytest.fixture
def query(classifier, gallery):
    def call(images, view=gallery, k=9):
        image = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return Query(image, classifier, view, dict.fromkeys(view.taps, k))

    return call


def test_the_rows_of_the_database_itself_and_no_others(query, pixels, gallery):
    """Half of the images are in it; copies of images count, wherever they lie."""
    mixed = np.concatenate([pixels["train"][::50], pixels["test"][::20]])
    expected = [any((image == row).all() for row in pixels["train"]) for image in mixed]
    assert 0 < sum(expected) < len(mixed)
    assert in_database(query(mixed), gallery.taps).tolist() == expected


def test_only_what_a_view_has_can_be_found(query, pixels, gallery):
    view = gallery.view(0, 100)
    found = in_database(query(pixels["train"], view), gallery.taps)
    assert np.flatnonzero(found).tolist() == view.ids.tolist()


def test_rounding_and_a_small_change_are_told_apart(query, pixels, gallery):
    image = pixels["train"][:40].astype(np.float32)
    for change, expected in ((1e-3, True), (4.0, False)):
        noise = np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
        assert in_database(query(image + change * noise), gallery.taps).all() == expected


@pytest.mark.parametrize(("taps", "tells"), [(BITS, False), (LONG, True)])
def test_few_equal_bits_are_chance(tmp_path, classifier, data, pixels, query, taps, tells):
    config = tiny(tmp_path / "database", tmp_path / "runs")
    config["model"]["database"]["taps"] = taps
    config["model"]["defenses"] = [{"class_path": "KNN", "init_args": {"taps": [tap["name"] for tap in taps]}}]
    run("extract", config)
    (view,) = Database(path=tmp_path / "database", taps=[Tap(**tap) for tap in taps]).open(classifier, data)
    asked = query(pixels["train"][:50], view)
    assert in_database(asked, view.taps).all() == tells
    assert not in_database(query(pixels["test"][:50], view), view.taps).any()
