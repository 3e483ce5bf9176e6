import pytest
import torch

from lit_knn.evaluation.metrics import by_line
from lit_knn.report.results import Variant

NONE, CROP, TV = map(Variant, ("none", "crop", "tv"))


@pytest.mark.parametrize("times", [2, 5, 10])
def test_lines_are_those_of_a_plain_loop_over_evaluations(times):
    lines = [NONE, *CROP.evaluated(times), *TV.evaluated(times)]
    right = torch.rand(6, 30, 3, 2, times, generator=torch.Generator().manual_seed(times)) < 0.7  # (E, N, V, T, n)
    right[..., 0, :, :] = right[..., 0, :, :1]
    counts = right.sum(-1)
    counts[..., 0, :] = right[..., 0, :, 0]  # which is evaluated once
    found = by_line(counts.short(), lines)
    assert found.dtype == torch.int16
    assert torch.equal(found[..., 0, :] > 0, right[..., 0, :, 0])
    for first, answer in ((1, right[..., 1, :, :]), (4, right[..., 2, :, :])):
        mean, worst, majority = (found[..., first + line, :] for line in range(3))
        for place, each in zip(torch.ones(6, 30, 2).nonzero().tolist(), answer.flatten(0, 2).tolist(), strict=True):
            assert mean[tuple(place)] == sum(each)
            assert worst[tuple(place)] == all(each)
            assert majority[tuple(place)] == (sum(each) > times - sum(each))
    assert (found.amax(dim=(0, 1, 3)) <= torch.tensor([line.trials for line in lines])).all()


def test_the_image_that_leaves_fewest_is_the_worst_for_each_line():
    lines = CROP.evaluated(6)
    counts = torch.arange(7).view(7, 1, 1)
    found = by_line(counts, lines)[..., 0]  # (7, 3)
    assert torch.equal(found, found.sort(dim=0).values)
    assert found.tolist()[2:5] == [[2, 0, 0], [3, 0, 0], [4, 0, 1]]  # half is no majority
