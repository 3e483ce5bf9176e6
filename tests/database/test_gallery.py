"""What every gallery keeps, whatever its rows are."""

import numpy as np
import pytest
import torch

from lit_knn.evaluation.checks.binarization_gallery import BinarizationGallery


@pytest.fixture(params=["stored", "view", "planted"])
def any_gallery(request, gallery):
    if request.param == "planted":
        generator = torch.Generator().manual_seed(0)
        rows = {"late": torch.randn(30, 24, generator=generator)}, torch.arange(30) % 10, torch.rand(30, 3, 8, 8)
        return BinarizationGallery(gallery, *rows)
    return gallery.view(0, 100) if request.param == "view" else gallery


def test_ids_are_real_rows_in_order(any_gallery):
    assert any_gallery.ids.dtype == torch.int64
    assert len(any_gallery.ids) == len(any_gallery)
    assert (any_gallery.ids.diff() > 0).all()


def test_only_rows_of_the_gallery_are_found_nearest_first(any_gallery):
    asked = torch.randn(6, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = any_gallery.search("late", asked, 20)
    assert found.ids.shape == found.distances.shape == (6, 20)
    assert np.isin(found.ids, any_gallery.ids).all()
    vectors = any_gallery.vectors("late", found.ids)
    assert vectors.dtype == torch.float32
    distance = np.linalg.norm(asked.numpy()[:, None] - vectors.numpy(), axis=2)
    np.testing.assert_allclose(found.distances, distance, rtol=1e-3)
    assert (found.distances.diff(dim=1) >= 0).all()


def test_what_is_known_of_a_row(any_gallery):
    ids = any_gallery.ids[:6].reshape(2, 3)
    predictions = any_gallery.predictions(ids)
    assert predictions.probability.shape == (2, 3, any_gallery.num_classes)
    torch.testing.assert_close(predictions.probability.sum(2), torch.ones(2, 3), atol=2e-3, rtol=0)
    assert any_gallery.weights("cbw_e", ids).shape == (2, 3)
    labels = any_gallery.labels(ids)
    assert labels.dtype == torch.int64
    assert torch.equal(any_gallery.votes(ids), predictions.classes())
    assert (labels == predictions.classes()).double().mean() > 0.8  # the network is mostly right
    images = any_gallery.images(ids)
    assert images.shape == (2, 3, 3, 8, 8)
    assert 0 <= images.min() <= images.max() <= 1


def test_identities_tell_galleries_apart(any_gallery, gallery):
    assert any_gallery.identity() == any_gallery.identity()
    assert (any_gallery.identity() == gallery.identity()) is (any_gallery is gallery)


def test_features_lead_back_to_activations(any_gallery):
    features = torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(2))
    pooled = any_gallery.unproject("late", features)
    assert pooled.shape == (2, 3, any_gallery.length("late")) == (2, 3, 128)
    torch.testing.assert_close(any_gallery.project("late", pooled.flatten(0, 1)), features.flatten(0, 1))
