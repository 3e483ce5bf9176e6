"""Rows in the place of images, against NumPy in float64."""

import numpy as np
import pytest
import torch

from lit_knn.defenses.left_out import drawn_rows, others
from lit_knn.errors import UserError


def test_rows_are_drawn_once_each_and_all_where_there_are_fewer(gallery):
    rows = drawn_rows(gallery, 50, 3, k=5, whose="x")
    assert len(set(rows.tolist())) == 50
    assert rows.tolist() == sorted(rows.tolist())
    assert rows.tolist() == drawn_rows(gallery, 50, 3, k=5, whose="x").tolist()
    assert rows.tolist() != drawn_rows(gallery, 50, 4, k=5, whose="x").tolist()
    assert torch.equal(drawn_rows(gallery, 10**6, 3, k=5, whose="x"), gallery.ids)


def test_too_few_rows_are_named(gallery):
    count = len(gallery.ids)
    with pytest.raises(UserError, match=f"x looks for {count} neighbors of a row beside itself, but the database has"):
        drawn_rows(gallery, 5, 0, k=count, whose="x")


def test_no_row_is_its_own_neighbor(gallery):
    rows = drawn_rows(gallery, 20, 0, k=7, whose="x")
    features = gallery.vectors("late", rows)
    found = others(gallery, "late", rows, features, 7)
    every = gallery.vectors("late", gallery.ids).double().numpy()
    distance = np.linalg.norm(features.double().numpy()[:, None] - every[None], axis=2)
    distance[np.arange(20), np.searchsorted(gallery.ids.numpy(), rows.numpy())] = np.inf
    assert not (found.ids == rows[:, None]).any()
    np.testing.assert_allclose(found.distances.numpy(), np.sort(distance, axis=1)[:, :7], rtol=1e-5)
