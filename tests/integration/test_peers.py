"""The same attacks by Foolbox and torchattacks, on the 20 ImageNet and 20 CIFAR-10 images that Foolbox carries.

In float64, and in float32 with a smooth network: where rounding turns a ReLU over, iterates of float32 part ways, those
of one attack in a batch and alone (up to 0.09) as those of two packages. Peers take one radius for a batch, so they are
given one image at a time.
"""

import math

import pytest
import torch
from torch import nn

from lit_knn.attacks import CWL2, FGSM, FMN, IFGSM, GradientDescent
from lit_knn.backbones import Classifier
from lit_knn.threat_models.budget import BUDGETS, RELATIVE_L2
from lit_knn.threat_models.norms import L2

foolbox = pytest.importorskip("foolbox")
torchattacks = pytest.importorskip("torchattacks")

CASES = {
    "imagenet": ("torchvision/squeezenet1_1", {}, 64),
    "cifar10": ("torchvision/resnet18", {"num_classes": 10}, 32),
}
STEPS = 4
DELTA = 0.06


@pytest.fixture(scope="module", params=[f"{name}-{kind}" for name in CASES for kind in ("float64", "smooth-float32")])
def case(request):
    """A network of random weights, images ``(20, 3, H, W)`` and what the network takes them for."""
    dataset, _, kind = request.param.partition("-")
    name, arguments, size = CASES[dataset]
    dtype = torch.float64 if kind == "float64" else torch.float32
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Classifier(network=name, arguments=arguments, channels_last=False).to(dtype)
    if kind != "float64":
        smoothen(network)
    reader = foolbox.PyTorchModel(nn.Identity().eval(), (0, 1), device="cpu")
    image, _ = foolbox.utils.samples(reader, dataset, batchsize=20, shape=(size, size))
    image = image.to(dtype).contiguous()
    return network, image, network(image).argmax(1)


def smoothen(network):
    """Leave nothing whose gradient jumps."""
    for name, part in network.named_children():
        if isinstance(part, nn.ReLU):
            setattr(network, name, nn.Softplus().eval())
        elif isinstance(part, nn.MaxPool2d):
            pool = nn.AvgPool2d(part.kernel_size, part.stride, part.padding, ceil_mode=part.ceil_mode)
            setattr(network, name, pool.eval())
        else:
            smoothen(part)


def of_foolbox(attack):
    return lambda network, image, label, radius: attack(
        foolbox.PyTorchModel(network, (0, 1)), image, label, epsilons=radius
    )[1]


def sign_step(network, image, label, radius):
    return torchattacks.FGSM(network, eps=radius / math.sqrt(image.numel()))(image, label)


def projected(network, image, label, radius):
    options = {"alpha": 2.5 * radius / STEPS, "steps": STEPS, "random_start": False}
    # their default adds 1e-10 to the norm of the gradient, which shortens the steps where the network is sure
    return torchattacks.PGDL2(network, eps=radius, eps_for_division=0, **options)(image, label)


def momentum(network, image, label, radius):
    """Nothing is clipped by their L∞ budget of 1, nor projected: the steps together are as long as the radius."""
    size = radius / STEPS / math.sqrt(image.numel())
    return torchattacks.MIFGSM(network, eps=1, alpha=size, steps=STEPS, decay=0.8)(image, label)


FAST = foolbox.attacks.FGM()
BASIC = foolbox.attacks.L2BasicIterativeAttack(rel_stepsize=1 / STEPS, steps=STEPS)
PROJECTED = foolbox.attacks.L2ProjectedGradientDescentAttack(rel_stepsize=2.5 / STEPS, steps=STEPS, random_start=False)


@pytest.mark.parametrize(
    ("attack", "peer"),
    [
        pytest.param(FGSM(), of_foolbox(FAST), id="FGSM-foolbox"),
        pytest.param(FGSM(step="sign"), sign_step, id="FGSM-sign-torchattacks"),
        pytest.param(IFGSM(steps=STEPS), of_foolbox(BASIC), id="IFGSM-foolbox"),
        pytest.param(IFGSM(steps=STEPS, step="sign", momentum=0.8), momentum, id="MI-FGSM-torchattacks"),
        pytest.param(GradientDescent(steps=STEPS, random_start=False), of_foolbox(PROJECTED), id="PGD-foolbox"),
        pytest.param(GradientDescent(steps=STEPS, random_start=False), projected, id="PGD-torchattacks"),
    ],
)
def test_the_same_image_with_a_radius_of_its_own(attack, peer, case):
    network, image, label = case
    (ours,) = attack(network, image, label, torch.arange(20), [DELTA])
    radii = RELATIVE_L2.radius(image, DELTA).tolist()
    assert max(radii) > 1.5 * min(radii)
    theirs = torch.cat([peer(network, image[i : i + 1], label[i : i + 1], radii[i]) for i in range(20)])
    assert (L2.length(theirs - image) > 0.25 * torch.tensor(radii)).all()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def clamped(network, image, label, radius):
    options = {"alpha": 2.5 * radius / STEPS, "steps": STEPS, "random_start": False}
    return torchattacks.PGD(network, eps=radius, **options)(image, label)


def fast(network, image, label, radius):
    return torchattacks.FGSM(network, eps=radius)(image, label)


LINF_BASIC = foolbox.attacks.LinfBasicIterativeAttack(rel_stepsize=1 / STEPS, steps=STEPS)
LINF_PROJECTED = foolbox.attacks.LinfPGD(rel_stepsize=2.5 / STEPS, steps=STEPS, random_start=False)


@pytest.mark.parametrize("case", ["imagenet-float64"], indirect=True)
@pytest.mark.parametrize(
    ("norm", "size", "attack", "peer"),
    [
        pytest.param("l2", 0.5, GradientDescent(steps=STEPS), of_foolbox(PROJECTED), id="PGD-L2-foolbox"),
        pytest.param("l2", 3.0, GradientDescent(steps=STEPS), projected, id="PGD-L2-torchattacks"),
        pytest.param("linf", 8 / 255, FGSM(), fast, id="FGSM-Linf-torchattacks"),
        pytest.param("linf", 4 / 255, IFGSM(steps=STEPS), of_foolbox(LINF_BASIC), id="IFGSM-Linf-foolbox"),
        pytest.param("linf", 4 / 255, GradientDescent(steps=STEPS), of_foolbox(LINF_PROJECTED), id="PGD-Linf-foolbox"),
        pytest.param("linf", 8 / 255, GradientDescent(steps=STEPS), clamped, id="PGD-Linf-torchattacks"),
    ],
)
def test_the_same_images_at_the_radii_that_others_report(norm, size, attack, peer, case):
    network, image, label = (part[:6] if isinstance(part, torch.Tensor) else part for part in case)
    (ours,) = attack(network, image, label, torch.arange(6), [size], norm=norm)
    theirs = peer(network, image, label, size)
    assert (BUDGETS[norm].realized(image, theirs) > 0.5 * size).all()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)


@pytest.mark.parametrize("case", [f"{name}-float64" for name in CASES], indirect=True)
def test_carlini_wagner_finds_norms_no_larger(case):
    network, image, label = (part[:5] if isinstance(part, torch.Tensor) else part for part in case)
    options = {"steps": 12, "binary_search_steps": 3}
    (ours,) = CWL2(**options, step_size=0.03, initial_constant=1)(network, image, label, torch.arange(5), [1.0])
    attack = foolbox.attacks.L2CarliniWagnerAttack(**options, stepsize=0.03, initial_const=1, abort_early=False)
    theirs, _, success = attack(foolbox.PyTorchModel(network, (0, 1)), image, label, epsilons=None)
    assert success.all()
    assert (network(ours).argmax(1) != label).all()
    assert L2.length(ours - image).median() <= 1.02 * L2.length(theirs - image).median()


class Growing:
    """Foolbox's, whose balls grow, as ours, until an image is fooled."""

    def __call__(self, model, image, label, **options):
        self.number, self.last, self.found = 0, torch.zeros_like(image[:, 0, 0, 0]), torch.zeros_like(label).bool()
        return super().__call__(model, image, Watched(label, self), **options)

    def project(self, x, x0, epsilon):
        gamma = 0.001 + (self.gamma - 0.001) * (1 + math.cos(math.pi * self.number / self.steps)) / 2
        grown = torch.maximum(epsilon.raw, self.last * (1 + gamma))
        epsilon.raw.copy_(torch.where(self.found, epsilon.raw, grown))  # the loop's own
        self.number, self.last = self.number + 1, epsilon.raw
        return self.pulled(x, x0, epsilon)


class ProjectedFMN(Growing, foolbox.attacks.L2FMNAttack):
    """With the paper's projection: its own, which divides norms by themselves, leaves all where it is."""

    def pulled(self, x, x0, epsilon):
        change = x.raw - x0.raw
        return x0 + type(x)(change * (epsilon.raw / L2.length(change)).clamp_max(1).view(-1, 1, 1, 1))


class ClampedFMN(Growing, foolbox.attacks.LInfFMNAttack):
    def pulled(self, x, x0, epsilon):
        return foolbox.attacks.LInfFMNAttack.project(self, x, x0, epsilon)


class Watched(foolbox.Misclassification):
    """Tells an attack where it has succeeded."""

    def __init__(self, label, attack):
        super().__init__(label)
        self.attack = attack

    def __call__(self, perturbed, outputs):
        found = super().__call__(perturbed, outputs)
        self.attack.found = self.attack.found | found.raw
        return found


@pytest.mark.parametrize("case", [f"{name}-float64" for name in CASES], indirect=True)
@pytest.mark.parametrize(("norm", "peer"), [("relative_l2", ProjectedFMN), ("linf", ClampedFMN)])
def test_the_same_smallest_perturbations_step_by_step(norm, peer, case):
    network, image, label = (part[:6] if isinstance(part, torch.Tensor) else part for part in case)
    for steps in (1, 2, 9):
        (ours,) = FMN(steps=steps, step_size=0.5)(network, image, label, torch.arange(6), [1.0], norm=norm)
        attack = peer(steps=steps, max_stepsize=0.5)
        theirs, _, success = attack(foolbox.PyTorchModel(network, (0, 1)), image, label, epsilons=None)
        assert torch.equal(success, network(ours).argmax(1) != label)
        torch.testing.assert_close(ours[success], theirs[success], rtol=0, atol=1e-8)
    assert success.all()


@pytest.mark.parametrize("case", [f"{name}-float64" for name in CASES], indirect=True)
def test_fmn_finds_norms_no_larger_than_ddn_or_their_fmn_in_as_many_passes(case):
    network, image, label = (part[:6] if isinstance(part, torch.Tensor) else part for part in case)
    (ours,) = FMN(steps=15)(network, image, label, torch.arange(6), [1.0])
    assert (network(ours).argmax(1) != label).all()
    for attack in (foolbox.attacks.DDNAttack(steps=15), foolbox.attacks.L2FMNAttack(steps=15)):
        theirs, _, success = attack(foolbox.PyTorchModel(network, (0, 1)), image, label, epsilons=None)
        found = torch.where(success, L2.length(theirs - image), torch.inf)
        assert L2.length(ours - image).median() <= 1.02 * found.median()
