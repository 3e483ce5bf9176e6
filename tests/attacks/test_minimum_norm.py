"""What is kept, chosen again by brute force among everything that was looked at."""

import numpy as np
import pytest
import torch

from lit_knn.attacks.minimum_norm import Smallest, require_signed
from lit_knn.attacks.objectives import EOT, CrossEntropy, FeatureSpace, Margin, SoftKNN, TargetedDLR
from lit_knn.errors import UserError
from lit_knn.threat_models.norms import L2


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_the_smallest_that_is_enough_and_otherwise_the_most_promising(confidence):
    random = np.random.default_rng(0)
    clean = random.random((40, 3, 2, 2))
    seen = clean + random.normal(size=(5, 40, 3, 2, 2))
    margins = random.normal(size=(5, 40))
    smallest = Smallest(torch.from_numpy(clean), confidence, L2)
    for image, margin in zip(torch.from_numpy(seen), torch.from_numpy(margins), strict=True):
        assert torch.equal(smallest.look(image, margin), margin > confidence)

    solved, lengths = margins > confidence, np.sqrt(((seen - clean) ** 2).sum((2, 3, 4)))
    chosen = np.where(solved.any(0), np.where(solved, lengths, np.inf).argmin(0), margins.argmax(0))
    assert 0 < solved.any(0).sum() < 40 or confidence == 0
    np.testing.assert_array_equal(smallest.found, seen[chosen, np.arange(40)])
    expected = np.where(solved.any(0), lengths[chosen, np.arange(40)], np.inf)
    np.testing.assert_allclose(smallest.length, expected, rtol=1e-12)


@pytest.mark.parametrize("objective", [CrossEntropy(), FeatureSpace(), SoftKNN(), EOT(objective=CrossEntropy())])
def test_objectives_whose_sign_says_nothing_are_refused(objective):
    with pytest.raises(UserError, match=r"mine needs an objective that is above 0 where the answer is wrong"):
        require_signed("mine", objective)
    for accepted in (Margin(), TargetedDLR(), EOT(objective=Margin())):
        require_signed("mine", accepted)
