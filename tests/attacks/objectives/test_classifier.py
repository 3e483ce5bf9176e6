import numpy as np
import torch

from lit_knn.attacks.objectives import CrossEntropy, Margin, margin


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
