import torch

from lit_knn.database.store import NeighborPredictions


def test_a_tie_within_a_row_goes_to_the_lowest_class():
    predictions = NeighborPredictions(torch.tensor([[[0.25, 0.5, 0.5, 0.0]]]), None, 4)
    assert predictions.classes().tolist() == [[1]]


def test_packed_rows_are_ranked_already_and_complete_ones_are_ranked_when_asked():
    complete = NeighborPredictions(torch.rand(2, 3, 30, generator=torch.Generator().manual_seed(0)), None, 30)
    ranked = complete.ranked()
    assert ranked.shape == (2, 3, 21)
    assert torch.equal(ranked, complete.probability.sort(dim=-1, descending=True).values[..., :21])
    packed = NeighborPredictions(ranked, torch.zeros(2, 3, 21, dtype=torch.int64), 30)
    assert packed.ranked() is ranked
    assert torch.equal(packed.classes(), torch.zeros(2, 3, dtype=torch.int64))
