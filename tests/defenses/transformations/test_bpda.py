"""The transformation's images with the gradient of a simpler one: what a white box needs against rounding."""

import pytest
import torch
import torch.nn.functional as F

from lit_knn.attacks import APGD, PGD, RandomNoise
from lit_knn.attacks.objectives import DefenseMargin
from lit_knn.defenses import BPDA, BitDepth, Query, TransformedClassifier
from lit_knn.randomness import Randomness
from lit_knn.threat_models import WhiteBox
from tests.defenses.transformations.conftest import Cropped, Enlarged, Noisy

IDS = torch.arange(5)


@pytest.mark.parametrize("inner", [Noisy(), Cropped(), Enlarged()], ids=lambda inner: inner.name)
def test_forward_is_the_transformations_to_the_bit_and_backward_that_of_a_resize(inner):
    image = torch.rand(5, 3, 8, 8, requires_grad=True)
    expected = inner(image, Randomness(0, IDS))
    seen = BPDA(transformation=inner)(image, Randomness(0, IDS))
    assert torch.equal(seen, expected)
    towards = torch.randn_like(seen)
    (found,) = torch.autograd.grad(seen, image, towards)
    resized = F.interpolate(image, seen.shape[2:], mode="bilinear")  # the identity where the size is kept
    (backward,) = torch.autograd.grad(resized, image, towards)
    torch.testing.assert_close(found, backward)
    assert torch.equal(found, towards) is inner.keeps_size


def test_a_transformation_may_say_what_is_near_it():
    inner = BitDepth(bits=2)
    image = torch.rand(5, 3, 8, 8, requires_grad=True)
    seen, towards = BPDA(transformation=inner)(image, None), torch.randn(5, 3, 8, 8)
    assert torch.equal(seen, inner(image, None))
    found, expected = (torch.autograd.grad(part, image, towards)[0] for part in (seen, inner.near(image)))
    torch.testing.assert_close(found, expected)


def test_it_breaks_rounding_which_hides_its_gradient_from_plain_attacks(classifier, data):
    image = torch.stack([data.image("queries", 0, row) for row in range(100)]).float() / 255
    plain, through = (
        TransformedClassifier(transformation=copied) for copied in (BitDepth(), BPDA(transformation=BitDepth()))
    )

    def answer(image):
        return plain(Query(image, classifier, randomness=Randomness(0, torch.arange(100))))[0].argmax(1)

    label = answer(image)

    def accuracy(copy, attack):
        surrogate_defense = WhiteBox(defense=copy).surrogate_defense(classifier, None)
        (found,) = attack(classifier, image, label, torch.arange(100), [0.2], surrogate_defense)
        return (answer(found) == label).float().mean().item()

    noise = accuracy(plain, RandomNoise(restarts=3, objective=DefenseMargin()))
    assert accuracy(plain, PGD(restarts=3, objective=DefenseMargin())) > noise - 0.02  # its random starts alone
    assert accuracy(through, PGD(objective=DefenseMargin())) < 0.2 * noise
    assert accuracy(through, APGD(steps=30, objective=DefenseMargin())) < 0.1 * noise


def test_yaml_nests_it_in_a_white_box():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--threat", type=WhiteBox)
    inner = {"class_path": "BitDepth", "init_args": {"bits": 2}}
    through = {"class_path": "BPDA", "init_args": {"transformation": inner}}
    defense = {"class_path": "TransformedClassifier", "init_args": {"transformation": through}}
    written = {"class_path": "WhiteBox", "init_args": {"defense": defense}}
    copy = parser.parse_object({"threat": written}).threat.init_args.defense
    assert copy.class_path == "lit_knn.defenses.TransformedClassifier"
    assert copy.init_args.transformation.class_path == "lit_knn.defenses.BPDA"
    assert copy.init_args.transformation.init_args.transformation.class_path == "lit_knn.defenses.BitDepth"
    assert copy.init_args.transformation.init_args.transformation.init_args.bits == 2
