import numpy as np
import pytest
import torch

from lit_knn.database.store import NeighborPredictions
from lit_knn.defenses.neighbors.weighting import CBWD, CBWE, UW
from lit_knn.errors import UserError
from tests.database.store.test_confidence import brute_force, rows


@pytest.mark.parametrize(("m", "p"), [(1, 1), (5, 2), (20, 0.5)])
def test_other_m_and_p_come_from_the_predictions(m, p):
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


def test_names_and_bad_arguments():
    assert [w.name for w in (UW(), CBWE(), CBWD(), CBWD(m=5))] == ["UW", "CBW-E", "CBW-D", "CBW-D(M=5, P=3)"]
    for wrong in ({"m": 0}, {"m": 21}, {"p": 0}):
        with pytest.raises(UserError, match="CBWD takes"):
            CBWD(**wrong)
