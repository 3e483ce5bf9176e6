import pytest
import torch

from lit_knn.defenses import BitDepth, NoDefense, Query, TransformedClassifier, Variant
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from tests.defenses.transformations.conftest import Cropped, Noisy

IDS = torch.arange(40) + 100


def query(images, classifier, rows=slice(None), seed=0):
    return Query(images[rows], classifier, randomness=Randomness(seed, IDS[rows]))


def test_it_answers_what_the_classifier_says_of_the_transformed_image(classifier, images):
    defense = TransformedClassifier(transformation=BitDepth(bits=2))
    scores = defense(query(images, classifier))
    assert defense.variants == [Variant("2-bit")]
    assert defense.needed == {}
    assert not defense.random
    assert torch.equal(scores, classifier(BitDepth(bits=2)(images, None))[None])
    assert not torch.equal(scores, NoDefense()(query(images, classifier)))


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_several_draws_are_combined_class_by_class(combine, classifier, images):
    transformation = Cropped()
    defense = TransformedClassifier(transformation=transformation, draws=5, combine=combine)
    asked = query(images, classifier)
    softmax = [
        classifier(transformation(images, asked.randomness("transformation", draw))).double().softmax(1)
        for draw in range(5)
    ]
    assert defense.variants == [Variant("cropped ×5" if combine == "mean" else "cropped max ×5")]
    expected = torch.stack(softmax)
    expected = expected.mean(0) if combine == "mean" else expected.amax(0)
    torch.testing.assert_close(defense(asked)[0].double().exp(), expected, rtol=1e-5, atol=1e-8)
    assert not torch.equal(softmax[0], softmax[1])


def test_one_draw_is_the_logits_which_never_saturate(classifier, images):
    scores = TransformedClassifier(transformation=Noisy())(query(images, classifier))
    assert scores.shape == (1, 40, 10)
    noisy = images + 0.1 * Randomness(0, IDS, "transformation").normal(images)
    assert torch.equal(scores[0], classifier(noisy))


@pytest.mark.parametrize("transformation", [Noisy(), Cropped()], ids=lambda transformation: transformation.name)
@pytest.mark.parametrize("draws", [1, 3])
def test_a_random_one_answers_alike_in_any_batch_and_order(transformation, draws, classifier, images):
    defense = TransformedClassifier(transformation=transformation, draws=draws)
    network, images = classifier.double(), images.double()
    whole = defense(query(images, network))[0]
    for size in (1, 7):
        parts = [defense(query(images, network, rows))[0] for rows in torch.arange(40).split(size)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-9)
    order = torch.randperm(40)
    torch.testing.assert_close(defense(query(images, network, order))[0], whole[order], rtol=0, atol=1e-9)
    assert torch.equal(defense(query(images, network))[0], whole)  # whatever was drawn in between
    assert not torch.allclose(defense(query(images, network, seed=1))[0], whole)


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"combine": "median"}])
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match="draws from 1, and mean or max are accepted"):
        TransformedClassifier(transformation=Noisy(), **wrong)


def test_more_draws_of_what_is_not_random_are_refused():
    with pytest.raises(UserError, match="draws: 5, but 3-bit is not random: at most 1 is accepted"):
        TransformedClassifier(transformation=BitDepth(), draws=5)


# What attackers copy ------------------------------------------------------------------------------------------------


def test_a_copy_answers_the_same_and_has_a_gradient(classifier, images):
    for transformation in (BitDepth(bits=2), Noisy()):
        defense = TransformedClassifier(transformation=transformation)
        (copy,) = defense.copies()
        assert copy.variants == defense.variants
        assert copy.differentiable
        asked = query(images.clone().requires_grad_(), classifier)
        torch.testing.assert_close(copy(asked), defense(asked))
        (slope,) = torch.autograd.grad(copy(asked).amax(dim=2).sum(), asked.image)
        assert slope.flatten(1).any(dim=1).all()


def test_a_gradient_through_several_draws_is_that_of_all_at_once_in_the_memory_of_one(classifier, images):
    network = classifier.double()
    images = images[:4].double().requires_grad_()
    defense = TransformedClassifier(transformation=Cropped(), draws=3)
    asked = Query(images, network, randomness=Randomness(0, IDS[:4]))
    expected = torch.stack(
        [network(Cropped()(images, asked.randomness("transformation", draw))).softmax(1) for draw in range(3)]
    )
    wanted = torch.autograd.grad(expected.mean(0).log()[:, 0].sum(), images)[0]
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: held.append(kept.numel()) or kept, lambda kept: kept):
        scores = defense(asked)
    assert sum(held) < 10 * images.numel()  # of a network with some dozen layers as large
    torch.testing.assert_close(torch.autograd.grad(scores[0, :, 0].sum(), images)[0], wanted)
