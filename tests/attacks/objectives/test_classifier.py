import numpy as np
import pytest
import torch

from lit_knn.attacks.objectives import CrossEntropy, Margin, ProbabilityMargin, margin
from lit_knn.threat_models.attack_target import AttackTarget


def test_cross_entropy_in_numpy(attack_target):
    logits = attack_target.model(attack_target.image).numpy()
    true = logits[np.arange(len(logits)), attack_target.label.numpy()]
    expected = np.log(np.exp(logits - true[:, None]).sum(1))
    np.testing.assert_allclose(
        CrossEntropy().bind(attack_target)(attack_target.image).numpy(), expected, rtol=1e-9, atol=1e-12
    )


def test_margins_by_hand():
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0], [1.0, 1.0, 0.0]])
    assert margin(scores, torch.tensor([0, 2, 1])).tolist() == [-1.0, 4.0, 0.0]


def test_the_margin_is_above_zero_where_the_network_is_wrong(attack_target):
    image = (attack_target.image + 0.4 * torch.rand_like(attack_target.image)).clamp(0, 1)
    wrong = attack_target.model(image).argmax(1) != attack_target.label
    assert torch.equal(Margin().bind(attack_target)(image) > 0, wrong)
    assert not (Margin().bind(attack_target)(attack_target.image) > 0).any()


def test_the_probability_margin_in_numpy(attack_target):
    image = (attack_target.image + 0.4 * torch.rand_like(attack_target.image)).clamp(0, 1)
    logits, label = attack_target.model(image).numpy(), attack_target.label.numpy()
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = probability[np.arange(len(label)), label]
    probability[np.arange(len(label)), label] = 0
    found = ProbabilityMargin().bind(attack_target)(image)
    np.testing.assert_allclose(found.numpy(), probability.max(1) - true, rtol=1e-9)
    assert torch.equal(found > 0, attack_target.model(image).argmax(1) != attack_target.label)


@pytest.mark.parametrize("sure", [1.0, 12.0, 60.0])
def test_the_gradient_of_the_probability_margin_survives_a_sure_network(sure):
    """In float32 the true probability is 1 to the bit; in float64 it is not, and the gradient is the reference."""

    def slope(dtype):
        image = torch.tensor([sure, 0.5, 0.0], dtype=dtype).view(1, 3, 1, 1).requires_grad_()
        label = torch.tensor([0])
        batch = AttackTarget(lambda image: image.flatten(1), image.detach(), label, label)
        return torch.autograd.grad(ProbabilityMargin().bind(batch)(image).sum(), image)[0].flatten()

    torch.testing.assert_close(slope(torch.float32).double(), slope(torch.float64), rtol=1e-4, atol=0)
