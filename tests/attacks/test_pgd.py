import pytest
import torch.nn.functional as F

from lit_knn.attacks import FGSM, PGD, RandomNoise

DELTAS = [0.0, 0.05, 0.1, 0.2, 0.4]


def loss_and_accuracy(attack, network, digits):
    logits = [network(image) for image in (digits[0], *attack(network, *digits, DELTAS[1:]))]
    losses = [F.cross_entropy(scores, digits[1]).item() for scores in logits]
    return losses, [(scores.argmax(1) == digits[1]).float().mean().item() for scores in logits]


@pytest.mark.parametrize("step", ["sign", "l2"])
def test_strength_on_a_network_that_classifies_digits(step, network, digits):
    loss, accuracy = loss_and_accuracy(PGD(step=step), network, digits)
    fast_loss, fast_accuracy = loss_and_accuracy(FGSM(step=step), network, digits)
    _, noise_accuracy = loss_and_accuracy(RandomNoise(), network, digits)
    assert loss == sorted(loss)
    assert accuracy == sorted(accuracy, reverse=True)
    assert accuracy[0] == 1
    assert all(strong >= fast for strong, fast in zip(loss, fast_loss, strict=True))
    assert all(
        strong <= fast <= floor for strong, fast, floor in zip(accuracy, fast_accuracy, noise_accuracy, strict=True)
    )
    assert accuracy[-1] == 0
    assert noise_accuracy[2] > 0.9


def test_l2_steps_are_stronger_than_signs_under_an_l2_budget(network, digits):
    along, signs = (loss_and_accuracy(PGD(step=step), network, digits)[0] for step in ("l2", "sign"))
    assert all(a > b for a, b in zip(along[1:], signs[1:], strict=True))


def test_more_steps_do_not_make_it_weaker(network, digits):
    few, many = (loss_and_accuracy(PGD(steps=steps), network, digits)[1] for steps in (5, 40))
    assert all(a >= b for a, b in zip(few, many, strict=True))
