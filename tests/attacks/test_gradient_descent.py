"""The loop against one written independently in numpy, where the gradient of a softmax regression is known."""

import numpy as np
import pytest
import torch
from torch import nn

from lit_knn.attacks import GradientDescent
from lit_knn.randomness import Randomness


def reference(weight, bias, image, label, delta, *, start, steps, step, step_size):
    """Attack one flat image ``(D,)`` in float64."""
    radius = delta * np.linalg.norm(image)

    def project(x):
        length = np.linalg.norm(x - image)
        return np.clip(image + (x - image) * (radius / length if length > radius else 1), 0, 1)

    x = project(image + radius * start)
    for _ in range(steps):
        scores = weight @ x + bias
        softmax = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        gradient = weight.T @ (softmax - np.eye(len(bias))[label])
        move = np.sign(gradient) / np.sqrt(len(x)) if step == "sign" else gradient / np.linalg.norm(gradient)
        x = project(x + step_size * radius / steps * move)
    return x


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("step", ["sign", "l2"])
@pytest.mark.parametrize("delta", [0.02, 0.3])
def test_against_numpy(delta, step, random_start, digits):
    image, label, id = digits
    image = image.double()
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10, dtype=torch.float64)).requires_grad_(False).eval()
    model[1].weight.copy_(torch.randn(10, 192, generator=torch.Generator().manual_seed(0)))
    attack = GradientDescent(steps=7, step=step, step_size=2.5, random_start=random_start)
    (found,) = attack(model, image, label, id, [delta])

    noise = Randomness(0, id)
    start = noise.uniform(image).pow(1 / 192).view(-1, 1, 1, 1) * noise.direction(image) * random_start
    for row in range(8):
        expected = reference(
            *(model[1].weight.numpy(), model[1].bias.numpy()),
            *(image[row].flatten().numpy(), int(label[row]), delta),
            start=start[row].flatten().numpy(),
            steps=7,
            step=step,
            step_size=2.5,
        )
        np.testing.assert_allclose(found[row].flatten().numpy(), expected, rtol=0, atol=1e-10)


def test_the_random_start_is_uniform_in_the_ball():
    """In D dimensions, (‖start‖/r)^D is uniform in [0, 1]."""
    image = torch.full((2000, 3, 1, 1), 0.5, dtype=torch.float64)
    zeros, ids = torch.zeros(2000, dtype=torch.int64), torch.arange(2000)
    starts = []

    def model(x):
        starts.append(x)
        return torch.stack([x.sum((1, 2, 3)), -x.sum((1, 2, 3))], dim=1)

    next(GradientDescent(steps=1, random_start=True)(model, image, zeros, ids, [0.1]))
    offset = (starts[0].detach() - image).flatten(1)  # (N, 3)
    level = (offset.norm(dim=1) / (0.1 * 0.75**0.5)).pow(3).sort().values
    assert (level - torch.linspace(0, 1, 2000)).abs().max() < 1.63 / 2000**0.5  # Kolmogorov–Smirnov, 1 %
    assert offset.mean(0).abs().max() < 0.01


def test_the_models_calls_are_one_per_step(network, digits):
    calls = []

    def model(image):
        calls.append(image)
        return network(image)

    found = GradientDescent(steps=4)(model, *digits, [0.02, 0.06])
    assert [len(calls) for _ in found] == [4, 8]  # nothing is done before it is asked for


def test_saturated_images_move_where_they_can(network, digits):
    image = (digits[0] > 0.5).float()  # every pixel at an end of the range
    (found,) = GradientDescent(random_start=False)(network, image, *digits[1:], [0.06])
    assert (found != image).flatten(1).any(1).all()
