import numpy as np
import pytest
import torch

from lit_knn.database.store import NeighborPredictions
from lit_knn.defenses.neighbors.nearness import Nearness
from lit_knn.defenses.neighbors.weighting import CBWD, CBWE, UW, Similarity
from lit_knn.errors import UserError
from tests.database.store.test_confidence import brute_force, rows


def unasked():
    return pytest.fail("that weight does not go by features")


NEAR = Nearness(unasked, unasked)
NOTHING = NeighborPredictions(torch.zeros(1, 2, 3), None, 3)


@pytest.mark.parametrize(("m", "p"), [(1, 1), (5, 2), (20, 0.5)])
def test_other_m_and_p_come_from_the_predictions(m, p):
    softmax = rows(30)
    _, expected = brute_force(softmax, m, p)
    predictions = NeighborPredictions(torch.from_numpy(softmax)[None], None, 30)
    weights = CBWD(m=m, p=p)(predictions, lambda name: pytest.fail(f"{name} is not that weight"), NEAR)
    np.testing.assert_allclose(weights[0], expected, atol=1e-12)


def test_the_papers_weights_come_from_the_store():
    predictions = NeighborPredictions(torch.full((1, 2, 3), 1 / 3), None, 3)
    stored = {"cbw_e": torch.tensor([[1.0, 2.0]]), "cbw_d": torch.tensor([[3.0, 4.0]])}
    assert CBWE()(predictions, stored.__getitem__, NEAR).tolist() == [[1, 2]]
    assert CBWD()(predictions, stored.__getitem__, NEAR).tolist() == [[3, 4]]
    assert UW()(predictions, stored.__getitem__, NEAR).tolist() == [[1, 1]]


def test_names_and_bad_arguments():
    assert [w.name for w in (UW(), CBWE(), CBWD(), CBWD(m=5))] == ["UW", "CBW-E", "CBW-D", "CBW-D(M=5, P=3)"]
    for wrong in ({"m": 0}, {"m": 21}, {"p": 0}):
        with pytest.raises(UserError, match="CBWD takes"):
            CBWD(**wrong)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_similarity_is_the_softmax_of_numpy(similarity):
    rng = np.random.default_rng(0)
    features, vectors = rng.standard_normal((6, 8)), rng.standard_normal((6, 9, 8))
    nearness = Nearness(lambda: torch.from_numpy(features), lambda: torch.from_numpy(vectors))
    if similarity == "cosine":
        lengths = np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(vectors, axis=2)
        values = np.einsum("nd,nkd->nk", features, vectors) / lengths
    else:
        values = -((features[:, None] - vectors) ** 2).sum(2)
    expected = np.exp(values / 0.3)
    weights = Similarity(similarity=similarity, temperature=0.3)(NOTHING, unasked, nearness).numpy()
    assert weights.max(1).tolist() == [1.0] * 6
    np.testing.assert_allclose(
        weights / weights.sum(1, keepdims=True), expected / expected.sum(1, keepdims=True), rtol=1e-10, atol=1e-300
    )


def test_distances_that_are_known_decide():
    near = Nearness(unasked, unasked, torch.tensor([[1.0, 2.0, 3.0]]))
    weights = Similarity(similarity="euclidean", temperature=2.0)(NOTHING, unasked, near)
    torch.testing.assert_close(weights, torch.tensor([[1.0, np.exp(-1.5), np.exp(-4.0)]], dtype=torch.float32))


def test_what_an_attacker_takes_keeps_a_gradient_where_the_defenses_weights_vanish():
    features = torch.tensor([[0.0, 0.0]], requires_grad=True)
    vectors = torch.tensor([[[0.1, 0.0], [3.0, 0.0]]])
    cold, near = Similarity(similarity="euclidean", temperature=1e-3), Nearness(lambda: features, lambda: vectors)
    assert cold(NOTHING, unasked, near)[0, 1] == 0
    lent = cold.lent(NOTHING, unasked, near)
    assert lent[0, 1] > 0
    (slope,) = torch.autograd.grad(lent[0, 1].log(), features)
    assert slope[0, 0] > 0  # nearer to the far row, further from the near one
    warm = Similarity(similarity="euclidean", temperature=10.0)
    assert torch.equal(warm.lent(NOTHING, unasked, near), warm(NOTHING, unasked, near))


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": float("nan")}, {"similarity": "dot"}])
def test_similarity_refuses(wrong):
    with pytest.raises(UserError, match="Similarity has"):
        Similarity(**wrong)
