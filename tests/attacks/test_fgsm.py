import torch
from torch import nn

from lit_knn.attacks import FGSM, GradientDescent


def linear(weight):
    """Two classes; the loss of class 0 rises along weight[1] − weight[0] everywhere."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, dtype=torch.float64)).requires_grad_(False)
    model[1].weight.copy_(weight)
    return model.eval()


def one(pixel):
    return torch.full((1, 3, 2, 2), pixel, dtype=torch.float64), torch.tensor([0]), torch.tensor([0])


def test_sign_step_on_a_linear_model_by_hand():
    weight = torch.zeros(2, 12, dtype=torch.float64)
    weight[1, :6], weight[1, 6:9] = 2.0, -0.5  # the last three pixels do not matter: sign(0) = 0
    (found,) = FGSM(step="sign")(linear(weight), *one(0.5), [0.2])
    expected = torch.tensor([0.6] * 6 + [0.4] * 3 + [0.5] * 3, dtype=torch.float64)  # Δ‖x‖/√D = Δ·0.5 for a flat image
    torch.testing.assert_close(found.flatten(), expected)


def test_l2_step_is_the_optimum_of_a_linear_model():
    weight = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model, (image, label, id) = linear(weight), one(0.5)
    (found,) = FGSM(step="l2")(model, image, label, id, [0.1])
    slope = weight[1] - weight[0]
    expected = image.flatten() + 0.1 * image.norm() * slope / slope.norm()  # Cauchy–Schwarz; nothing is clipped
    torch.testing.assert_close(found.flatten(), expected)
    (signs,) = FGSM(step="sign")(model, image, label, id, [0.1])
    margins = [(model(x) @ torch.tensor([-1.0, 1.0], dtype=torch.float64)).item() for x in (image, signs, found)]
    assert margins == sorted(margins)


def test_a_gradient_whose_squares_vanish_still_has_its_direction(network, digits):
    plain, tiny = (
        next(FGSM()(lambda image, scale=scale: network(image) * scale, *digits, [0.06])) for scale in (1e-4, 1e-30)
    )
    torch.testing.assert_close(plain, tiny, rtol=0, atol=1e-3)
    assert (tiny != digits[0]).flatten(1).any(1).all()


def test_one_gradient_serves_every_budget(network, digits):
    calls = []

    def model(image):
        calls.append(image)
        return network(image)

    deltas = [0.01, 0.02, 0.04, 0.06, 0.08, 0.1]
    sweep = list(FGSM()(model, *digits, deltas))
    assert len(calls) == 1
    for delta, found in zip(deltas, sweep, strict=True):
        assert torch.equal(found, next(FGSM()(network, *digits, [delta])))


def test_it_is_gradient_descent_of_one_step(network, digits):
    descent = GradientDescent(steps=1, step_size=1, random_start=False)
    fast, slow = (next(attack(network, *digits, [0.06])) for attack in (FGSM(), descent))
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-6)
