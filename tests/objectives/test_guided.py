import numpy as np
import pytest
import torch

from lit_knn.errors import UserError
from lit_knn.objectives import GuidedNeighbors


def test_the_objective_in_numpy(victim):
    """Brute force over all rows of both classes, in float64."""
    replica, guides = victim.defense, victim.defense.guides
    found = GuidedNeighbors(m=6).bind(victim)(victim.image).numpy()
    features = replica.features(victim.image).numpy()
    rows = {c: guides.vectors[c][guides.present[c]].double().numpy() for c in range(10)}
    stored = np.concatenate([block for _, block in replica.gallery.store.feature_blocks("late")]).astype(np.float64)
    for query, label, value in zip(features, victim.label.tolist(), found, strict=True):
        border = np.sort(((stored - query) ** 2).sum(1))[replica.k - 1]
        near = {c: np.sort(((vectors - query) ** 2).sum(1))[:3] for c, vectors in rows.items()}
        wrong = min((c for c in near if c != label), key=lambda c: near[c].mean())
        inside = np.maximum(border - near[label] + 1e-5 * border, 0).sum()
        outside = np.maximum(near[wrong] - border + 1e-5 * border, 0).sum()
        assert value == pytest.approx(-inside - outside, rel=1e-5)


def test_settings():
    with pytest.raises(UserError, match="2 or more"):
        GuidedNeighbors(m=1)


def test_each_image_on_its_own(victim, part):
    together = GuidedNeighbors().bind(victim)(victim.image)
    alone = torch.cat([GuidedNeighbors().bind(part(victim, [n]))(victim.image[[n]]) for n in range(len(victim.image))])
    torch.testing.assert_close(alone, together, rtol=1e-9, atol=1e-9)
