"""The defense's answer with the identity's gradient: what a white box needs against rounding."""

import pytest
import torch

from lit_knn.attacks import APGD, PGD, RandomNoise
from lit_knn.attacks.objectives import DefenseMargin
from lit_knn.defenses import BPDA, BitDepth, Query, Transformed
from lit_knn.errors import UserError
from lit_knn.threat_models import WhiteBox


@pytest.fixture
def queries(classifier, data):
    """Digits, and what the defense says of them."""
    image = torch.stack([data.image("queries", 0, row) for row in range(100)]).float() / 255
    return image, BitDepth()(Query(image, classifier))[0].argmax(1), torch.arange(100)


def test_forward_is_the_defenses_to_the_bit_and_backward_the_identitys(classifier):
    image = torch.rand(5, 3, 8, 8, requires_grad=True)
    real, copy = BitDepth(bits=3), BPDA(defense=BitDepth(bits=3))
    seen = copy.transform(image)
    assert torch.equal(seen, real.transform(image))
    towards = torch.randn_like(image)
    (found,) = torch.autograd.grad(seen, image, towards)
    assert torch.equal(found, towards)
    (found,) = torch.autograd.grad(real.transform(image), image, towards)
    assert not found.any()
    query = Query(image.detach(), classifier)
    assert torch.equal(copy(query), real(query))
    assert copy.variants == real.variants


def test_it_breaks_rounding_which_hides_its_gradient_from_plain_attacks(classifier, queries):
    image, label, id = queries

    def accuracy(copy, attack):
        surrogate_defense = WhiteBox(defense=copy).surrogate_defense(classifier, None)
        (found,) = attack(classifier, image, label, id, [0.2], surrogate_defense)
        return (BitDepth()(Query(found, classifier))[0].argmax(1) == label).float().mean().item()

    through, plain = BPDA(defense=BitDepth()), BitDepth()
    noise = accuracy(plain, RandomNoise(restarts=3, objective=DefenseMargin()))
    assert accuracy(plain, PGD(restarts=3, objective=DefenseMargin())) > noise - 0.02  # its random starts alone
    assert accuracy(through, PGD(objective=DefenseMargin())) < 0.2 * noise
    assert accuracy(through, APGD(steps=30, objective=DefenseMargin())) < 0.1 * noise


def test_transformations_that_change_the_size_are_refused():
    class Halved(Transformed):
        name = "halved"

        def transform(self, image):
            return image[:, :, ::2, ::2]

    with pytest.raises(UserError, match="keep an image's size, and halved does not"):
        BPDA(defense=Halved()).transform(torch.rand(1, 3, 4, 4))


def test_yaml_nests_it_in_a_white_box():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--threat", type=WhiteBox)
    inner = {"class_path": "BitDepth", "init_args": {"bits": 2}}
    written = {
        "class_path": "WhiteBox",
        "init_args": {"defense": {"class_path": "BPDA", "init_args": {"defense": inner}}},
    }
    copy = parser.parse_object({"threat": written}).threat.init_args.defense
    assert copy.class_path == "lit_knn.defenses.BPDA"
    assert copy.init_args.defense.class_path == "lit_knn.defenses.BitDepth"
    assert copy.init_args.defense.init_args.bits == 2
