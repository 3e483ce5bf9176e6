"""The loop against one written independently in numpy, where the gradient of a softmax regression is known."""

import numpy as np
import pytest
import torch
from torch import nn

from lit_knn.attacks import IFGSM, PGD, GradientDescent
from lit_knn.attacks.objectives import Margin
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness


def reference(weight, bias, image, label, delta, *, start, steps, step, step_size, momentum=0, norm="relative_l2"):
    """Attack one flat image ``(D,)`` in float64."""
    radius = delta * (np.linalg.norm(image) if norm == "relative_l2" else 1)

    def project(x):
        if norm == "linf":
            return np.clip(x, np.maximum(image - radius, 0), np.minimum(image + radius, 1))
        length = np.linalg.norm(x - image)
        return np.clip(image + (x - image) * (radius / length if length > radius else 1), 0, 1)

    x, gathered = project(image + radius * start), 0
    for _ in range(steps):
        scores = weight @ x + bias
        softmax = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        gradient = weight.T @ (softmax - np.eye(len(bias))[label])
        gradient = gathered = momentum * gathered + gradient / np.abs(gradient).sum()
        if norm == "linf":
            move = np.sign(gradient) if step == "sign" else gradient / np.abs(gradient).max()
        else:
            move = np.sign(gradient) / np.sqrt(len(x)) if step == "sign" else gradient / np.linalg.norm(gradient)
        x = project(x + step_size * radius / steps * move)
    return x


@pytest.mark.parametrize("momentum", [0, 0.7, 1])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("step", ["sign", "l2"])
@pytest.mark.parametrize("delta", [0.02, 0.3])
def test_against_numpy(delta, step, random_start, momentum, digits):
    image, label, id = digits
    image = image.double()
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10, dtype=torch.float64)).requires_grad_(False).eval()
    model[1].weight.copy_(torch.randn(10, 192, generator=torch.Generator().manual_seed(0)))
    attack = GradientDescent(steps=7, step=step, step_size=2.5, random_start=random_start, momentum=momentum)
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
            momentum=momentum,
        )
        np.testing.assert_allclose(found[row].flatten().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("step", [None, "sign", "l2"])
@pytest.mark.parametrize(("norm", "size"), [("l2", 0.5), ("linf", 8 / 255)])
def test_other_norms_against_numpy(norm, size, step, digits):
    image, label, id = digits[0][:4].double(), *(part[:4] for part in digits[1:])
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10, dtype=torch.float64)).requires_grad_(False).eval()
    model[1].weight.copy_(torch.randn(10, 192, generator=torch.Generator().manual_seed(0)))
    attack = GradientDescent(steps=5, step=step, random_start=True)
    (found,) = attack(model, image, label, id, [size], norm=norm)

    noise = Randomness(0, id)
    level = noise.uniform(image).pow(1 / 192).view(-1, 1, 1, 1)
    towards = noise.direction(image) if norm == "l2" else 2 * noise.uniform(image, 3, 8, 8) - 1
    start = level * towards / (towards.abs().amax((1, 2, 3), keepdim=True) if norm == "linf" else 1)
    for row in range(4):
        expected = reference(
            *(model[1].weight.numpy(), model[1].bias.numpy()),
            *(image[row].flatten().numpy(), int(label[row]), size),
            start=start[row].flatten().numpy(),
            steps=5,
            step=step or ("l2" if norm == "l2" else "sign"),
            step_size=2.5,
            norm=norm,
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


def test_each_step_of_diverse_inputs_has_a_draw_of_its_own_and_any_delta_the_same(network, digits):
    image = 0.2 + 0.6 * digits[0]  # so that black is where there is no image
    seen = []

    def model(image):
        seen.append((image.sum(1) == 0).flatten(1))
        return network(image)

    attack = GradientDescent(steps=3, restarts=2, diversity=0.5)
    list(attack(model, image, *digits[1:], [0.02, 0.06]))
    small, large = seen[:8], seen[8:]  # three steps and one choice, of each run
    assert all(map(torch.equal, small, large))
    assert not small[3].any()
    assert not small[7].any()
    steps = [step.tolist() for step in (*small[:3], *small[4:7])]
    assert all(one != other for number, one in enumerate(steps) for other in steps[:number])


def test_names_and_what_is_refused():
    assert GradientDescent(momentum=1).name == "M-GradientDescent"
    assert PGD(momentum=1, diversity=0.5, objective=Margin()).name == "M-DI-PGD-margin"
    assert IFGSM(diversity=0.5).name == "DI-IFGSM"
    assert PGD(momentum=1, name="MI").name == "MI"
    for wrong in ({"momentum": -0.1}, {"momentum": float("nan")}, {"diversity": 1.1}, {"diversity": -0.1}):
        with pytest.raises(UserError, match=r"momentum from 0 and diversity in \[0, 1\]"):
            PGD(**wrong)
