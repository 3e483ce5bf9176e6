import numpy as np
import pytest
import torch

from lit_knn.attacks.objectives import GuidedNeighbors
from lit_knn.errors import UserError


def test_the_objective_in_numpy(attack_target):
    """Brute force over all rows of both classes, in float64."""
    surrogate_defense, exemplars = attack_target.defense, attack_target.defense.exemplars
    found = GuidedNeighbors(m=6).bind(attack_target)(attack_target.image).numpy()
    features = surrogate_defense.features(attack_target.image).numpy()
    rows = {c: exemplars.vectors[c][exemplars.present[c]].double().numpy() for c in range(10)}
    stored = np.concatenate([block for _, block in surrogate_defense.gallery.store.feature_blocks("late")]).astype(
        np.float64
    )
    for query, label, value in zip(features, attack_target.label.tolist(), found, strict=True):
        border = np.sort(((stored - query) ** 2).sum(1))[surrogate_defense.k - 1]
        near = {c: np.sort(((vectors - query) ** 2).sum(1))[:3] for c, vectors in rows.items()}
        wrong = min((c for c in near if c != label), key=lambda c: near[c].mean())
        inside = np.maximum(border - near[label] + 1e-5 * border, 0).sum()
        outside = np.maximum(near[wrong] - border + 1e-5 * border, 0).sum()
        assert value == pytest.approx(-inside - outside, rel=1e-5)


def test_settings():
    with pytest.raises(UserError, match="2 or more"):
        GuidedNeighbors(m=1)


def test_each_image_on_its_own(attack_target, part):
    together = GuidedNeighbors().bind(attack_target)(attack_target.image)
    alone = torch.cat(
        [
            GuidedNeighbors().bind(part(attack_target, [n]))(attack_target.image[[n]])
            for n in range(len(attack_target.image))
        ]
    )
    torch.testing.assert_close(alone, together, rtol=1e-9, atol=1e-9)
