import numpy as np
import pytest
import torch

from lit_knn.errors import UserError
from lit_knn.threat_models.budget import BUDGETS, RELATIVE_L2, budget_in


def test_sizes_by_hand():
    image = torch.zeros(2, 3, 1, 2)
    image[0, 0, 0] = torch.tensor([0.3, 0.4])  # 3-4-5
    image[1] = 0.5  # six pixels: √(6/4)
    torch.testing.assert_close(RELATIVE_L2.radius(image, 0.1), torch.tensor([0.05, 0.1 * 1.5**0.5]))
    torch.testing.assert_close(RELATIVE_L2.realized(image, image * 0.75), torch.tensor([0.25, 0.25]))
    for name, realized in (("l2", [0.125, 0.25 * 1.5**0.5]), ("linf", [0.1, 0.125])):
        torch.testing.assert_close(BUDGETS[name].radius(image, 0.25), torch.tensor([0.25, 0.25]))
        torch.testing.assert_close(BUDGETS[name].realized(image, image * 0.75), torch.tensor(realized))


@pytest.mark.parametrize("norm", BUDGETS)
def test_the_largest_perturbation_of_a_budget_is_as_large_as_its_size(norm):
    budget, image = BUDGETS[norm], torch.full((5, 3, 4, 4), 0.5, dtype=torch.float64)
    image *= torch.linspace(0.6, 1, 5).view(-1, 1, 1, 1)
    far = image + torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = budget.norm.project(far, image, budget.radius(image, 0.1))
    np.testing.assert_allclose(budget.realized(image, found), 0.1)


@pytest.mark.parametrize(
    ("norm", "accepted", "outside"),
    [
        ("relative_l2", r"^Δ of .* is outside \(0, 1\]$", [1.001]),
        ("linf", r"^L∞ of .* is outside \(0, 1\]$", [1.001]),
        ("l2", r"^L2 of .* is outside \(0, ∞\)$", []),
    ],
)
def test_which_sizes_there_are(norm, accepted, outside):
    BUDGETS[norm].verify([1e-9, 0.5, 1.0])
    for wrong in (0.0, -0.1, float("nan"), float("inf"), *outside):
        with pytest.raises(UserError, match=accepted):
            BUDGETS[norm].verify([0.5, wrong])
    BUDGETS["l2"].verify([3.0, 100.0])


def test_sizes_that_are_written_alike_are_refused():
    BUDGETS["linf"].verify([8 / 255, 8 / 255, 4 / 255])
    with pytest.raises(UserError, match=r"^several sizes are L∞ = 8/255 to six digits: keep one of them$"):
        BUDGETS["linf"].verify([8 / 255, 0.0313725490196])
    with pytest.raises(UserError, match=r"^L∞ of 300/255 is outside"):
        BUDGETS["linf"].verify([300 / 255])


def test_an_unknown_norm():
    with pytest.raises(UserError, match="norm: 'l1' is unknown; relative_l2, l2, linf are accepted"):
        budget_in("l1")
