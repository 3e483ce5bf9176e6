import torch
import torch.nn.functional as F

from lit_knn.attacks import FGSM, IFGSM


def test_one_step_is_fgsm(network, digits):
    for step in ("sign", "l2"):
        one, fast = (next(attack(network, *digits, [0.06])) for attack in (IFGSM(steps=1, step=step), FGSM(step=step)))
        torch.testing.assert_close(one, fast, rtol=0, atol=1e-6)


def test_many_small_steps_are_stronger_than_one(network, digits):
    many, one = (
        F.cross_entropy(network(next(attack(network, *digits, [0.2]))), digits[1]) for attack in (IFGSM(), FGSM())
    )
    assert many > one
