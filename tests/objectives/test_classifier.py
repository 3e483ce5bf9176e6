import numpy as np
import torch

from lit_knn.objectives import CrossEntropy, Margin, margin


def test_cross_entropy_in_numpy(victim):
    logits = victim.model(victim.image).numpy()
    true = logits[np.arange(len(logits)), victim.label.numpy()]
    expected = np.log(np.exp(logits - true[:, None]).sum(1))
    np.testing.assert_allclose(CrossEntropy().bind(victim)(victim.image).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_margins_by_hand():
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0], [1.0, 1.0, 0.0]])
    assert margin(scores, torch.tensor([0, 2, 1])).tolist() == [-1.0, 4.0, 0.0]


def test_the_margin_is_above_zero_where_the_network_is_wrong(victim):
    image = (victim.image + 0.4 * torch.rand_like(victim.image)).clamp(0, 1)
    wrong = victim.model(image).argmax(1) != victim.label
    assert torch.equal(Margin().bind(victim)(image) > 0, wrong)
    assert not (Margin().bind(victim)(victim.image) > 0).any()
