from dataclasses import replace

import numpy as np
import pytest
import torch

from lit_knn.database.index import Selection
from lit_knn.errors import UserError
from lit_knn.threat_models import class_exemplars
from lit_knn.threat_models.class_exemplars import ClassExemplars


@pytest.fixture
def rows(gallery):
    """Votes and features of all rows, in float64."""
    softmax = gallery.store.softmax_rows(np.arange(len(gallery.store)))
    stored = np.concatenate([block for _, block in gallery.store.feature_blocks("late")]).astype(np.float64)
    return softmax.argmax(1), stored


def queries(count=20):
    return torch.randn(count, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_nearest_rows_of_a_class_by_brute_force(gallery, rows):
    vote, stored = rows
    features, classes = queries(), torch.arange(20)[:, None] % 10
    found = ClassExemplars(gallery, "late").nearest(features, torch.cat([classes, (classes + 1) % 10], dim=1), 4)
    assert found.ids.shape == (20, 2, 4)
    assert found.present.all()
    for n, query in enumerate(features.numpy()):
        for g in range(2):
            mine = np.flatnonzero(vote == (n + g) % 10)
            expected = mine[np.argsort(((stored[mine] - query) ** 2).sum(1))[:4]]
            assert found.ids[n, g].tolist() == expected.tolist()
            np.testing.assert_allclose(found.vectors[n, g].numpy(), stored[expected])


def test_wrong_classes_by_their_mean_distance(gallery, rows):
    vote, stored = rows
    features, label = queries(), torch.arange(20) % 10
    found = ClassExemplars(gallery, "late").wrong(features, label, 3, 5)
    for query, true, classes in zip(features.numpy(), label.tolist(), found.tolist(), strict=True):
        mean = {c: np.sort(((stored[vote == c] - query) ** 2).sum(1))[:5].mean() for c in range(10) if c != true}
        assert classes == sorted(mean, key=mean.get)[:3]


def test_a_sample_keeps_some_rows_of_each_class_and_of_the_view_only(gallery, rows):
    view = gallery.view(0, 600)
    exemplars = ClassExemplars(view, "late", most=200)
    assert exemplars.ids.shape == (10, 20)
    kept = exemplars.ids[exemplars.present].numpy()
    assert np.isin(kept, view.ids).all()
    assert len(set(kept.tolist())) == len(kept)
    assert (rows[0][kept] == np.repeat(np.arange(10), exemplars.present.sum(1).numpy())).all()
    assert torch.equal(exemplars.ids, ClassExemplars(view, "late", most=200).ids)
    assert not torch.equal(exemplars.ids, ClassExemplars(view, "late", most=200, seed=1).ids)


def test_no_softmax_is_read(gallery, monkeypatch):
    expected = ClassExemplars(gallery, "late").ids
    monkeypatch.setattr(type(gallery.store), "softmax_rows", None)
    monkeypatch.setattr(class_exemplars, "BLOCK", 100)
    assert torch.equal(ClassExemplars(gallery, "late").ids, expected)


def test_classes_without_rows_come_last_and_are_marked(gallery, rows):
    vote, _ = rows

    def only(*classes):
        return replace(gallery, among=Selection.of(np.flatnonzero(np.isin(vote, classes)), len(vote)))

    exemplars = ClassExemplars(only(1, 2), "late")
    wrong = exemplars.wrong(queries(), torch.ones(20, dtype=torch.int64), 9, 5)
    assert (wrong[:, 0] == 2).all()
    assert not exemplars.nearest(queries(), torch.full((20, 1), 7), 3).present.any()
    with pytest.raises(UserError, match="vote for one class"):
        ClassExemplars(only(1), "late")
