import torch

from lit_knn.backbones import Classifier
from lit_knn.defenses import OtherClassifier, Query, Requirements, Variant
from tests.conftest import SURROGATE


def test_it_answers_as_the_other_network_with_its_gradient(classifier, data):
    other = Classifier(**SURROGATE)
    defense = OtherClassifier(classifier=other)
    image = data.first_images(torch.device("cpu"))["image"][:9].requires_grad_()
    found, expected = defense(Query(image, classifier)), other(image)
    assert torch.equal(found, expected[None])
    (one,), (same,) = (torch.autograd.grad(logits[..., 3].sum(), image) for logits in (found, expected))
    assert torch.equal(one, same)
    assert one.abs().sum() > 0
    assert defense.copies() == [defense]
    assert (defense.random, defense.differentiable) == (False, True)


def test_it_is_called_after_its_network_unless_it_has_a_name():
    other = Classifier(**SURROGATE)
    assert OtherClassifier(classifier=other).variants == [Variant("digits_surrogate")]
    assert OtherClassifier(classifier=other, name="ALP").variants == [Variant("ALP")]
    assert OtherClassifier(classifier=other).requirements() == Requirements(networks=[other])
