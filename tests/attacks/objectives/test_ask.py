import numpy as np
import pytest

from lit_knn.attacks.objectives import ASK
from lit_knn.errors import UserError


@pytest.mark.parametrize("similarity", ["l2", "cosine"])
def test_the_loss_in_numpy(attack_target, similarity):
    exemplars, k = attack_target.defense.exemplars, 3
    found = ASK(k=k, classes=10, similarity=similarity).bind(attack_target)(attack_target.image).numpy()
    features = attack_target.defense.features(attack_target.image).numpy()
    for query, label, value in zip(features, attack_target.label.tolist(), found, strict=True):
        near = []
        for c in range(10):
            rows = exemplars.vectors[c][exemplars.present[c]].double().numpy()
            near.append(rows[np.argsort(((rows - query) ** 2).sum(1))[:k]])
        rows = np.stack(near)  # (C, k, D)
        if similarity == "l2":
            distance = np.linalg.norm(rows - query, axis=2)
            score = -distance / distance.mean()
        else:
            score = rows @ query / np.linalg.norm(rows, axis=2) / np.linalg.norm(query)
        logits = score.mean(1) / 0.1
        assert value == pytest.approx(np.log(np.exp(logits - logits[label]).sum()), rel=1e-5, abs=1e-9)


def test_settings():
    for settings in ({"k": 0}, {"temperature": 0}, {"classes": 1}, {"similarity": "dot"}):
        with pytest.raises(UserError, match="ASK has"):
            ASK(**settings)
