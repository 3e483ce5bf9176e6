import torch

from lit_knn.evaluation.metrics.sums import Sums


class OfValues(Sums):
    def update(self, values):
        self.add(values)


def test_sums_are_whole_numbers_that_start_from_nothing_again():
    sums = OfValues(3)
    before = sums.sums
    for values in ([2**53, 1, 0], [1, -1, 5]):
        sums.update(torch.tensor(values))
    assert sums.compute().tolist() == [2**53 + 1, 0, 5]  # which float64 does not hold
    assert before.tolist() == [0, 0, 0]  # out of place
    sums.reset()
    assert sums.sums.tolist() == [0, 0, 0]
