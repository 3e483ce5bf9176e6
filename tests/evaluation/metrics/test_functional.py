import numpy as np
import pytest
import torch

from lit_knn.errors import UserError
from lit_knn.evaluation.metrics import hits


def brute_force(scores, label, topk):
    """Sort (−score, class) and look the true class up."""
    variants, queries, classes = scores.shape
    found = np.zeros((queries, variants, len(topk)), dtype=bool)
    for v in range(variants):
        for n in range(queries):
            order = sorted(range(classes), key=lambda c: (-scores[v, n, c], c))
            found[n, v] = [label[n] in order[:k] for k in topk]
    return found


@pytest.mark.parametrize("levels", [2, 4, 10_000])  # few levels: nearly every score ties
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_hits_rank_like_a_sorted_list_ties_to_the_lower_class(levels, dtype):
    generator = torch.Generator().manual_seed(levels)
    scores = torch.randint(levels, (3, 40, 11), generator=generator).to(dtype)
    label = torch.randint(11, (40,), generator=generator)
    topk = (1, 2, 5, 10)
    np.testing.assert_array_equal(hits(scores, label, topk), brute_force(scores.numpy(), label.numpy(), topk))


def test_hits_of_infinite_scores():
    scores = torch.tensor([[[-torch.inf, torch.inf, 0.0], [0.0, -torch.inf, -torch.inf]]])
    assert hits(scores, torch.tensor([1, 0]), topk=(1,)).all()


@pytest.mark.parametrize("topk", [(0,), (1, 3), (-1,)])
def test_hits_refuses_a_k_that_would_always_or_never_hit(topk):
    with pytest.raises(UserError, match="of 3 classes: values from 1 to 2 are accepted"):
        hits(torch.zeros(1, 1, 3), torch.zeros(1, dtype=torch.int64), topk)


@pytest.mark.parametrize("label", [-1, 3])
def test_hits_refuses_a_label_outside_the_classes(label):
    with pytest.raises(UserError, match=f"label {label}; scores have classes 0 to 2"):
        hits(torch.zeros(1, 2, 3), torch.tensor([0, label]), (1,))


def test_hits_refuses_nan():
    with pytest.raises(UserError, match=r"^class scores contain NaN"):
        hits(torch.tensor([[[0.0, torch.nan]]]), torch.tensor([0]), (1,))
    with pytest.raises(UserError, match=r"^class scores of a rival contain NaN"):
        hits(torch.tensor([[[0.0, torch.nan]]]), torch.tensor([0]), (1,), "a rival")


def test_an_image_that_is_not_answered_counts_whatever_its_label():
    scores = torch.tensor([[[torch.inf] * 3] * 3, [[-torch.inf] * 3] * 3])
    assert hits(scores, torch.arange(3), [1, 2]).tolist() == [[[True, True], [False, False]]] * 3
