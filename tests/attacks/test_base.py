"""What the base promises for every attack."""

import pytest
import torch
import torch.nn.functional as F

from lit_knn.attacks import FGSM, PGD, Attack, RandomNoise
from lit_knn.attacks.objectives import DefenseMargin, Objective
from lit_knn.errors import UserError


def attacked(attack, network, digits, *deltas):
    return list(attack(network, *digits, deltas))


def loss(network, image, label):
    return F.cross_entropy(network(image), label, reduction="none")


def test_the_order_of_budgets_and_the_batch_do_not_matter_to_random_starts(network, digits):
    one, two = attacked(PGD(steps=2), network, digits, 0.02, 0.06)
    again_two, again_one = attacked(PGD(steps=2), network, digits, 0.06, 0.02)
    assert torch.equal(one, again_one)
    assert torch.equal(two, again_two)


@pytest.mark.parametrize("variant", [PGD, RandomNoise])
def test_restarts_keep_the_worst_of_each_image(variant, network, digits):
    *_, label, _ = digits
    found = {restarts: attacked(variant(restarts=restarts), network, digits, 0.06)[0] for restarts in (1, 2, 5)}
    losses = {restarts: loss(network, image, label) for restarts, image in found.items()}
    assert (losses[2] >= losses[1]).all()
    assert (losses[5] >= losses[2]).all()
    kept = (found[5] != found[1]).flatten(1).any(1)
    assert 0 < kept.sum() < len(kept)  # of each image, not of the batch


class Darken(Objective):
    suffix = "dark"

    def bind(self, attack_target, target=0):
        return lambda image: -image.sum((1, 2, 3))


class Corner(Objective):
    """Light in one of two corners; the choice between them is that of the brighter image."""

    targets = 2

    def bind(self, attack_target, target=0):
        row = -target  # the first or the last
        return lambda image: image[:, :, row, row].sum(1)

    def choice(self, attack_target):
        return lambda image: image.sum((1, 2, 3))


def test_restarts_are_chosen_by_the_objective(network, digits):
    attacks = (RandomNoise(restarts=restarts, objective=Darken()) for restarts in (1, 4))
    one, many = (attacked(attack, network, digits, 0.06)[0].sum((1, 2, 3)) for attack in attacks)
    assert (many <= one).all()
    assert (many < one).any()


def test_every_target_is_tried_and_the_choice_decides(network, digits):
    class First(Corner):
        targets = 1

    class Last(First):
        def bind(self, attack_target, target=0):
            return super().bind(attack_target, 1)

    image = digits[0] * 0.5
    found, first, last = (
        next(FGSM(objective=objective)(network, image, *digits[1:], [0.06]))
        for objective in (Corner(), First(), Last())
    )
    brighter = first.sum((1, 2, 3)) >= last.sum((1, 2, 3))
    assert torch.equal(found, torch.where(brighter.view(-1, 1, 1, 1), first, last))


def test_the_name_says_what_is_climbed():
    assert FGSM(objective=Darken()).name == "FGSM-dark"
    assert FGSM(objective=Darken(), name="mine").name == "mine"
    assert FGSM().name == "FGSM"


def test_an_objective_on_the_defense_needs_a_threat_that_knows_it(network, digits):
    with pytest.raises(UserError, match="run it as a WhiteBox"):
        attacked(FGSM(objective=DefenseMargin()), network, digits, 0.06)


# What goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["sign", "l2"])
@pytest.mark.parametrize("variant", [FGSM, PGD])
def test_a_gradient_that_is_not_a_number_names_the_images(variant, step, network, digits):
    def model(image):
        return network(image) * torch.where(torch.arange(len(image)) == 3, torch.nan, 1.0).view(-1, 1)

    with pytest.raises(UserError, match=rf"gradient .* not finite for the images with id {digits[2][3]}$"):
        attacked(variant(step=step), model, digits, 0.06)


def test_a_loss_that_is_not_a_number_never_wins_a_restart(network, digits):
    with pytest.raises(UserError, match="objective of RandomNoise is not finite"):
        attacked(RandomNoise(restarts=2), lambda image: network(image) * torch.nan, digits, 0.06)


def test_a_model_without_gradient_is_refused(network, digits):
    with pytest.raises(UserError, match="no gradient"):
        attacked(PGD(), lambda image: network(image).detach(), digits, 0.06)


@pytest.mark.parametrize(("label", "message"), [(-1, "have no label"), (10, "label 10 is outside the 10 classes")])
def test_labels_outside_the_classes_are_refused(label, message, network, digits):
    digits[1][1] = label
    with pytest.raises(UserError, match=message):
        attacked(FGSM(), network, digits, 0.06)


@pytest.mark.parametrize(
    "build",
    [
        lambda: PGD(restarts=0),
        lambda: PGD(steps=0),
        lambda: PGD(step_size=0),
        lambda: PGD(step="linf"),
        lambda: FGSM(step="linf"),
    ],
)
def test_arguments_out_of_range_are_refused(build):
    with pytest.raises(UserError):
        build()


def test_yaml_reaches_attacks_by_short_class_names():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--attacks", type=list[Attack])
    written = [{"class_path": "PGD", "init_args": {"step": "sign", "name": "PGD-sign"}}, {"class_path": "FGSM"}]
    signs, fast = parser.parse_object({"attacks": written}).attacks
    assert signs.class_path.rsplit(".", 1) == ["lit_knn.attacks", "PGD"]
    assert (signs.init_args.name, signs.init_args.step, signs.init_args.steps) == ("PGD-sign", "sign", 10)
    assert fast.init_args.step is None
