import pytest
import torch

from lit_knn.defenses import BitDepth, NoDefense, Query, Transformed, Variant
from lit_knn.errors import UserError


@pytest.fixture
def images(data):
    return torch.stack([data.image("queries", 0, row) for row in range(40)]).float() / 255


def test_levels_of_brightness_by_hand():
    levels = torch.tensor([0.0, 0.2, 0.49, 0.51, 0.8, 1.0]).view(1, 1, 1, 6)
    assert BitDepth(bits=1).transform(levels).flatten().tolist() == [0, 0, 0, 1, 1, 1]
    thirds = BitDepth(bits=2).transform(levels).flatten() * 3
    torch.testing.assert_close(thirds, torch.tensor([0.0, 1, 1, 2, 2, 3]))


@pytest.mark.parametrize("bits", range(1, 9))
def test_each_value_goes_to_the_nearest_of_2_to_the_bits(bits):
    image = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    found = BitDepth(bits=bits).transform(image)
    assert len(found.unique()) == 2**bits
    assert (found - image).abs().max() <= 0.5 / (2**bits - 1) + 1e-12
    assert torch.equal(BitDepth(bits=bits).transform(found), found)


def test_eight_bits_leave_a_stored_image_alone():
    image = torch.arange(256).view(1, 1, 16, 16).float() / 255
    torch.testing.assert_close(BitDepth(bits=8).transform(image), image, rtol=0, atol=1e-7)


@pytest.mark.parametrize("bits", [0, 9])
def test_other_depths_are_refused(bits):
    with pytest.raises(UserError, match="1 to 8 are accepted"):
        BitDepth(bits=bits)


def test_it_answers_what_the_classifier_says_of_the_transformed_image(classifier, images):
    defense = BitDepth(bits=2)
    scores = defense(Query(images, classifier))
    assert defense.variants == [Variant("2-bit")]
    assert defense.needed == {}
    assert torch.equal(scores, classifier(defense.transform(images))[None])
    assert not torch.equal(scores, NoDefense()(Query(images, classifier)))


class Cropped(Transformed):
    """Another size, at a random place."""

    name = "cropped"

    def transform(self, image):
        top, left = torch.randint(0, 3, (2,)).tolist()
        return image[:, :, top : top + 6, left : left + 6]


def test_random_transformations_follow_the_global_seed_and_may_change_the_size(classifier, images):
    def answer(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Cropped()(Query(images, classifier))

    assert answer(0).shape == (1, 40, 10)
    assert torch.equal(answer(0), answer(0))
    assert not torch.equal(answer(0), answer(1))
