import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.errors import UserError
from tests.conftest import TAPS


@pytest.fixture
def image(data):
    """The first batch of the database, as the network sees it."""
    return data.on_after_batch_transfer(next(iter(data.database_batches([0]))))["image"]


@pytest.fixture
def features(gallery, classifier, image):
    """Its features, of each tap."""
    with torch.no_grad():
        pooled = classifier.tapped(image, list(gallery.taps.values()))[1]
        return {tap: gallery.project(tap, rows) for tap, rows in pooled.items()}


def test_an_image_of_the_database_is_its_own_nearest_neighbor(gallery, features):
    assert {tap: tuple(rows.shape) for tap, rows in features.items()} == {"early": (50, 24), "late": (50, 24)}
    for tap, rows in features.items():
        found = gallery.search(tap, rows, 3)
        assert (found.ids[:, 0] == torch.arange(50)).double().mean() > 0.95  # float16 may confuse twins
        assert (found.distances.diff(dim=1) >= 0).all()


def test_search_is_brute_force_in_float64(gallery, features):
    stored = np.concatenate([block for _, block in gallery.store.feature_blocks("late")]).astype(np.float64)
    distance = np.linalg.norm(features["late"].double().numpy()[:, None] - stored[None], axis=-1)  # (N, M)
    ids, found = (part.numpy() for part in gallery.search("late", features["late"], 7))
    np.testing.assert_array_equal(ids, np.argsort(distance, axis=1)[:, :7])
    near_copies = 1e-3 * np.linalg.norm(stored, axis=1).max()
    np.testing.assert_allclose(np.take_along_axis(distance, ids, 1), found, rtol=1e-4, atol=near_copies)


def test_rows_hold_what_the_network_says(gallery, classifier, image):
    with torch.no_grad():
        expected = classifier(image).softmax(-1)
    ids = torch.arange(50).view(10, 5)  # (N, K)
    predictions = gallery.predictions(ids)
    torch.testing.assert_close(predictions.probability.view(50, 10), expected, atol=1e-3, rtol=1e-3)
    for name in gallery.store.schema.weights:
        weights = gallery.weights(name, ids)
        assert weights.shape == (10, 5)
        assert torch.isfinite(weights).all()


def test_a_tap_that_is_not_there(gallery):
    with pytest.raises(UserError, match="no tap 'middle'; it has early, late"):
        gallery.tap("middle")


def test_projections_let_gradients_through(gallery):
    pooled = torch.randn(2, gallery.projections["early"].mean.numel(), requires_grad=True)
    gallery.project("early", pooled).square().sum().backward()
    assert pooled.grad.abs().sum() > 0


def test_each_tap_has_an_index_of_its_own(gallery):
    assert gallery.indexes["early"] is not gallery.indexes["late"]


def test_views_are_windows_over_one_random_order(gallery, features):
    rows = len(gallery)
    small, large, other = (gallery.view(*window) for window in ((0, 300), (0, 900), (200, 500)))
    few, many, others = (set(view.ids.tolist()) for view in (small, large, other))
    assert [len(view) for view in (small, large, other)] == [len(few), len(many), len(others)] == [300, 900, 300]
    assert few < many  # nested
    assert len(few & others) == 100  # the overlap is exact
    assert min(few) < rows // 2 < max(few)  # spread over the store
    found = small.search("late", features["late"], 5)
    full = gallery.search("late", features["late"], rows).ids.numpy()
    expected = np.stack([row[np.isin(row, small.ids)][:5] for row in full])
    np.testing.assert_array_equal(found.ids, expected)
    with pytest.raises(UserError, match=r"rows 0 to 9,999 .* but it has 1,297"):
        gallery.view(0, 9999)


def test_an_index_that_was_tuned_otherwise_answers_otherwise(gallery):
    index, other = copy.copy(gallery.indexes["late"]), copy.copy(gallery.indexes["late"])
    index.built = {"training": "a", "search_parameters": {"nprobe": 8}}
    other.built = {"training": "a", "search_parameters": {"nprobe": 16}}
    one = replace(gallery, indexes={"late": index})
    assert one.identity() != replace(gallery, indexes={"late": other}).identity()


def test_a_view_of_all_rows_is_all_of_it(gallery):
    assert gallery.among is None
    assert len(gallery) == len(gallery.ids) == len(gallery.store)
    assert gallery.view(0, 600).view(0, len(gallery)).identity() == gallery.identity()
    assert gallery.view(0, 600).identity() != gallery.view(0, 601).identity() != gallery.identity()


def test_the_defense_may_search_a_part(database_path, classifier, data):
    taps = [Tap(**tap) for tap in TAPS]
    part, again = (
        Database(path=database_path, taps=taps, rows=200, order_seed=seed).open(classifier, data)[-1] for seed in (0, 1)
    )
    assert len(part) == len(again) == 200
    assert set(part.ids.tolist()) != set(again.ids.tolist())
    share = Database(path=database_path, taps=taps, rows=0.5).open(classifier, data)[-1]
    assert len(share) == round(1297 / 2)
    assert set(part.ids.tolist()) < set(share.ids.tolist())
    for wrong in (0, -0.5, 1.5):
        with pytest.raises(UserError, match=f"rows is {wrong}; whole numbers"):
            Database(path=database_path, taps=taps, rows=wrong)


def test_images_of_rows_come_back(gallery, data):
    ids = torch.tensor([[3, 0], [1296, 7]])
    images = gallery.images(ids)
    assert images.shape == (2, 2, 3, 8, 8)
    source = data.database.open_shard(0)
    for found, id in zip(images.flatten(0, 1), ids.flatten(), strict=True):
        expected = np.asarray(source.read(int(id)).image).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_what_is_held_is_what_the_store_has(holding, gallery, monkeypatch):
    ids = torch.randint(len(gallery), (4, 5), generator=torch.Generator().manual_seed(0))

    def known(gallery):
        predictions, weights = gallery.predictions(ids), [gallery.weights(name, ids) for name in ("cbw_e", "cbw_d")]
        vectors = [gallery.vectors(tap, ids) for tap in ("early", "late")]
        return [predictions.probability, *weights, gallery.labels(ids), gallery.votes(ids), *vectors]

    expected, held = known(gallery), gallery.view(0, 600).resident()
    known(held)
    monkeypatch.setattr(type(gallery.store), "_copied", None)  # nothing is read any more
    for one, other in zip(known(held), expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_for_a_loop_views_share_the_rows_that_are_held(gallery, features, monkeypatch):
    """And are told from nothing else: what they find is the same."""
    monkeypatch.setattr("lit_knn.database.index.resident.HELD_FROM", 1)
    views = [gallery.view(0, 500), gallery.view(300, 900)]
    held = [view.resident() for view in views]
    for one, other in zip(views, held, strict=True):
        assert one.identity() == other.identity()
        for tap, rows in features.items():
            assert np.array_equal(one.search(tap, rows, 7).ids, other.search(tap, rows, 7).ids)
            assert other.indexes[tap].searcher is held[0].indexes[tap].searcher is not one.indexes[tap].searcher
