import numpy as np
import pytest
import torch

from lit_knn.database.predictions import NeighborPredictions
from lit_knn.defenses.neighbors.weighting import CBWD, CBWE, UW, entropy_gap, stored_weights, top_gap
from lit_knn.errors import UserError


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


@pytest.mark.parametrize(("m", "p"), [(1, 1), (5, 2), (20, 0.5)])
def test_other_m_and_p_come_from_the_ballots(m, p):
    softmax = rows(30)
    _, expected = brute_force(softmax, m, p)
    predictions = NeighborPredictions(torch.from_numpy(softmax)[None], None, 30)
    weights = CBWD(m=m, p=p)(predictions, lambda name: pytest.fail(f"{name} is not that weight"))
    np.testing.assert_allclose(weights[0], expected, atol=1e-12)


def test_the_papers_weights_come_from_the_store():
    predictions = NeighborPredictions(torch.full((1, 2, 3), 1 / 3), None, 3)
    stored = {"cbw_e": torch.tensor([[1.0, 2.0]]), "cbw_d": torch.tensor([[3.0, 4.0]])}
    assert CBWE()(predictions, stored.__getitem__).tolist() == [[1, 2]]
    assert CBWD()(predictions, stored.__getitem__).tolist() == [[3, 4]]
    assert UW()(predictions, stored.__getitem__).tolist() == [[1, 1]]


def test_known_values():
    uniform, certain = torch.full((1, 10), 0.1), torch.eye(10)[:1]
    assert entropy_gap(uniform).item() == pytest.approx(0, abs=1e-6)
    assert entropy_gap(certain).item() == pytest.approx(np.log(10))
    assert top_gap(uniform, 20, 3).item() == 0
    assert top_gap(certain, 20, 3).item() == 9  # M is cut to C − 1


def test_names_and_bad_arguments():
    assert [w.name for w in (UW(), CBWE(), CBWD(), CBWD(m=5))] == ["UW", "CBW-E", "CBW-D", "CBW-D(M=5, P=3)"]
    for wrong in ({"m": 0}, {"m": 21}, {"p": 0}):
        with pytest.raises(UserError, match="CBWD takes"):
            CBWD(**wrong)
