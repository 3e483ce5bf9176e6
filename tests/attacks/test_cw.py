"""The search against known optima, against all that it looked at, and against itself in other batches."""

from copy import deepcopy

import pytest
import torch

from lit_knn.attacks import CWL2
from lit_knn.attacks.objectives import EOT, CrossEntropy, Margin, margin
from lit_knn.errors import UserError
from lit_knn.threat_models.budget import RELATIVE_L2
from lit_knn.threat_models.norms import L2

QUICK = {"steps": 40, "binary_search_steps": 5, "step_size": 0.05, "initial_constant": 0.01}
DELTAS = [0.02, 0.05, 0.08, 0.1, 0.12, 1.0]


@pytest.fixture
def some(digits):
    return [part[:16] for part in digits]


def found(model, some, *deltas, **options):
    return list(CWL2(**QUICK | options)(model, *some, deltas))


class Recorder:
    """A model that remembers each image it saw, and its margin."""

    def __init__(self, model, label):
        self.model, self.label = model, label
        self.images, self.margins = [], []

    def __call__(self, image):
        logits = self.model(image)
        self.images.append(image.detach())
        self.margins.append(margin(logits.detach(), self.label))
        return logits


# ---------------------------------------------------------------- what is found


def test_the_nearest_point_beyond_a_plane(plane):
    """For a linear network the smallest perturbation is the distance to the nearest boundary."""
    model, image, label, distance = plane
    attack = CWL2(steps=100, binary_search_steps=6, initial_constant=1)
    (adversarial,) = attack(model, image, label, torch.arange(6), [1.0])
    ratio = L2.length(adversarial - image) / distance
    assert ratio.min() >= 1
    assert ratio.max() < 1.01


@pytest.mark.parametrize("confidence", [0.0, 2.0])
def test_the_smallest_of_all_that_are_enough_and_otherwise_the_highest(confidence, network, some):
    """Choose again, image by image, among everything that the network was asked about."""
    recorder = Recorder(network, some[1])
    small = {"steps": 15, "binary_search_steps": 3, "initial_constant": 0.002}  # too little for some of the images
    (adversarial,) = found(recorder, some, 1.0, confidence=confidence, **small)
    images, margins = torch.stack(recorder.images), torch.stack(recorder.margins)  # (T, N, ...)
    assert len(images) == 1 + 45
    lengths = (images - some[0]).flatten(2).norm(dim=2)  # (T, N)
    solved = (margins > confidence).any(0)
    assert 0 < solved.sum() < len(solved)
    smallest = lengths.masked_fill(margins <= confidence, torch.inf).argmin(0)
    chosen = torch.where(solved, smallest, margins.argmax(0))
    torch.testing.assert_close(adversarial, images[chosen, torch.arange(16)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("confidence", [0.0, 3.0])
def test_it_succeeds_with_the_margin_asked_for(confidence, network, some):
    (adversarial,) = found(network, some, 1.0, confidence=confidence)
    assert (margin(network(adversarial), some[1]) > confidence - 1e-4).all()


def test_confidence_costs_norm(network, some):
    plain, sure = (L2.length(found(network, some, 1.0, confidence=kappa)[0] - some[0]) for kappa in (0, 3))
    assert (sure > plain).all()


def test_more_steps_and_constants_find_smaller_ones(network, some):
    few, many = (
        L2.length(found(network, some, 1.0, steps=steps, binary_search_steps=constants)[0] - some[0])
        for steps, constants in ((30, 4), (90, 6))
    )
    assert (many <= few).double().mean() > 0.9
    assert many.median() < 0.95 * few.median()


def test_no_worse_than_foolbox(network, some):
    foolbox = pytest.importorskip("foolbox")
    image, label, _ = some
    (adversarial,) = found(network, some, 1.0)
    options = {"steps": 40, "binary_search_steps": 5, "stepsize": 0.05, "initial_const": 0.01, "abort_early": False}
    attack = foolbox.attacks.L2CarliniWagnerAttack(**options)
    theirs, _, success = attack(foolbox.PyTorchModel(network, (0, 1)), image, label, epsilons=None)
    assert success.all()
    assert L2.length(adversarial - image).median() <= 1.001 * L2.length(theirs - image).median()


# ---------------------------------------------------------------- what becomes of it under a budget


def test_one_search_gives_the_whole_curve(network, some):
    network, image, label = deepcopy(network).double(), some[0].double(), some[1]
    recorder = Recorder(network, label)
    *below, whole = found(recorder, (image, *some[1:]), *DELTAS)
    assert len(recorder.images) == 1 + 40 * 5
    needed = RELATIVE_L2.realized(image, whole)
    right = [network(adversarial).argmax(1) == label for adversarial in below]
    accuracy = [part.double().mean() for part in right]
    assert accuracy == sorted(accuracy, reverse=True)
    assert 0 < accuracy[-1] < accuracy[0] == 1
    for delta, adversarial, still in zip(DELTAS, below, right, strict=False):
        unchanged = needed <= delta
        assert not still[unchanged].any()
        assert still[needed > 1.05 * delta].all()  # between the two, what was found was not quite the smallest
        torch.testing.assert_close(adversarial[unchanged], whole[unchanged], rtol=0, atol=1e-12)
        realized = RELATIVE_L2.realized(image, adversarial)
        torch.testing.assert_close(realized, needed.clamp_max(delta), rtol=1e-9, atol=0)
        cosine = torch.cosine_similarity((adversarial - image).flatten(1), (whole - image).flatten(1))
        torch.testing.assert_close(cosine, torch.ones_like(cosine))


@pytest.mark.parametrize("mode", ["min_norm", "paper"])
def test_every_image_keeps_its_budget_and_its_range(mode, network, some):
    for delta, adversarial in zip(DELTAS, found(network, some, *DELTAS, mode=mode), strict=True):
        assert adversarial.dtype == torch.float32
        assert 0 <= adversarial.min() <= adversarial.max() <= 1
        assert (RELATIVE_L2.realized(some[0], adversarial) <= delta * (1 + 1e-5)).all()


def test_paper_has_the_direction_of_min_norm_and_the_length_of_the_budget(network, some):
    image = 0.3 + 0.4 * some[0]  # so that nothing is clipped
    label = network(image).argmax(1)
    whole, near, far = (
        next(CWL2(**QUICK, mode=mode)(network, image, label, some[2], [delta]))
        for mode, delta in (("min_norm", 1.0), ("paper", 0.01), ("paper", 0.2))
    )
    direction = (whole - image) / L2.length(whole - image).view(-1, 1, 1, 1)
    for delta, adversarial in ((0.01, near), (0.2, far)):
        expected = image + delta * L2.length(image).view(-1, 1, 1, 1) * direction
        inside = ((expected >= 0) & (expected <= 1)).flatten(1).all(1)
        assert inside.any()
        torch.testing.assert_close(adversarial[inside], expected[inside], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["min_norm", "paper"])
def test_an_image_that_is_wrong_already_is_left_as_it_is(mode, network, some):
    some[1][:5] = (some[1][:5] + 1) % 10
    (adversarial,) = found(network, some, 0.2, mode=mode)
    changed = (adversarial != some[0]).flatten(1).any(1)
    assert changed.tolist() == [False] * 5 + [True] * 11


# ---------------------------------------------------------------- what it does not depend on


def test_batches_of_one_and_of_all_give_the_same(network, some):
    network, some = deepcopy(network).double(), (some[0].double(), *some[1:])
    few = {"steps": 30, "binary_search_steps": 4}
    together = found(network, some, *DELTAS, **few)
    for row in range(8):
        apart = found(network, [part[row : row + 1] for part in some], *DELTAS, **few)
        for whole, single in zip(together, apart, strict=True):
            torch.testing.assert_close(whole[row], single[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("scale", "threshold"), [(1e-12, None), (1, 0.5)])
def test_where_nothing_is_enough_the_margin_still_rises(scale, threshold, network, some):
    """No constant makes up for tiny margins, and from black and white, tanh's infinities, 40 steps lead nowhere."""
    image, label, id = some
    image = image if threshold is None else (image > threshold).float()
    wrong = network(image).argmax(1) != label
    image, label, id = image[~wrong], label[~wrong], id[~wrong]
    (adversarial,) = found(lambda image: network(image) * scale, (image, label, id), 1.0)
    before, after = (margin(network(x), label) for x in (image, adversarial))
    assert (after < 0).any()
    assert (after >= before).all()
    assert (after > before).any()


# ---------------------------------------------------------------- what is refused


def test_names_say_what_is_not_the_default():
    assert CWL2().name == "CWL2"
    assert CWL2(objective=EOT(objective=Margin())).name == "CWL2-EOT-margin"
    assert CWL2(name="CW").name == "CW"


def test_an_objective_whose_sign_says_nothing_is_refused():
    with pytest.raises(UserError, match="CWL2 needs an objective that is above 0"):
        CWL2(objective=CrossEntropy())


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "max_norm"},
        {"steps": 0},
        {"binary_search_steps": 0},
        {"step_size": 0.0},
        {"initial_constant": float("nan")},
        {"confidence": -1.0},
    ],
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        CWL2(**wrong)
