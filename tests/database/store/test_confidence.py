import numpy as np
import pytest
import torch

from lit_knn.database.store.confidence import entropy_gap, stored_weights, top_gap


def rows(classes, n=200, seed=0):
    """Softmax rows of all kinds: soft, sharp, with exact zeros, with ties, uniform and one-hot."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n, classes)) * rng.choice([0.1, 1, 5, 30], (n, 1))
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax[::5, : classes // 2] = 0
    softmax[1::5] = np.ceil(softmax[1::5] * 4)
    softmax[2::50] = 1
    softmax[3::50] = np.eye(classes)[0]
    return softmax / softmax.sum(1, keepdims=True)


def brute_force(softmax, m, p):
    """Both formulas of Section 4, term by term."""
    cbw_e, cbw_d = [], []
    for row in softmax:
        entropy = sum(s * np.log(s) for s in row if s > 0)
        cbw_e.append(abs(np.log(len(row)) + entropy))
        ranked = sorted(row, reverse=True)
        cbw_d.append(sum((ranked[0] - ranked[i - 1]) ** p for i in range(2, m + 2) if i <= len(row)))
    return np.array(cbw_e), np.array(cbw_d)


@pytest.mark.parametrize("classes", [2, 10, 21, 22, 1000])
def test_formulas(classes):
    softmax = rows(classes)
    cbw_e, cbw_d = brute_force(softmax, 20, 3)
    np.testing.assert_allclose(entropy_gap(torch.from_numpy(softmax)), cbw_e, atol=1e-12)
    ranked = torch.from_numpy(-np.sort(-softmax, 1))
    np.testing.assert_allclose(top_gap(ranked, 20, 3), cbw_d, atol=1e-12)
    stored = stored_weights(torch.from_numpy(softmax).float())
    np.testing.assert_allclose(stored["cbw_e"], cbw_e, atol=1e-5)
    np.testing.assert_allclose(stored["cbw_d"], cbw_d, atol=1e-4)


def test_known_values():
    uniform, certain = torch.full((1, 10), 0.1), torch.eye(10)[:1]
    assert entropy_gap(uniform).item() == pytest.approx(0, abs=1e-6)
    assert entropy_gap(certain).item() == pytest.approx(np.log(10))
    assert top_gap(uniform, 20, 3).item() == 0
    assert top_gap(certain, 20, 3).item() == 9  # M is cut to C − 1
