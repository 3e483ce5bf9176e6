import pytest
import torch

from lit_knn.defenses import CBWD, KNN, BitDepth, NoDefense, Query, Similarity, TransformedClassifier
from lit_knn.defenses.neighbors.nearness import Nearness
from lit_knn.errors import UserError
from lit_knn.threat_models.surrogate_defense import SurrogateDefense
from tests.defenses.transformations.conftest import Noisy


def knn(**changes):
    return KNN(**{"taps": ["late"], "k": [5], "weightings": [CBWD()], **changes})


@pytest.fixture
def image(data):
    return data.on_after_batch_transfer(data.first_queries())["image"][:20]


@pytest.fixture
def stored(data):
    """The first images of the database itself."""
    return data.on_after_batch_transfer(next(iter(data.database_batches([0]))))["image"][:20]


def test_a_copy_of_everything_answers_as_the_defense(gallery, classifier, image):
    for defense in (knn(), knn(combinations=["hard"]), NoDefense()):
        expected = defense(Query(image, classifier, gallery, defense.needed))[0]
        assert torch.equal(SurrogateDefense(classifier, defense, gallery).scores(image), expected)


def test_only_one_variant_is_copied(gallery, classifier):
    with pytest.raises(UserError, match="one variant of a defense, not 3"):
        SurrogateDefense(classifier, KNN(taps=["late"]), gallery)


def test_features_have_a_graph_and_the_dtype_of_the_image(gallery, classifier, image):
    surrogate_defense = SurrogateDefense(classifier.double(), knn(), gallery)
    found = surrogate_defense.features(image.double().requires_grad_())
    assert found.requires_grad
    assert found.dtype == torch.float64
    torch.testing.assert_close(
        found, gallery.project("late", classifier.activations(image.double(), [gallery.tap("late")])["late"])
    )


def test_a_row_that_is_the_query_itself_is_left_out(gallery, classifier, stored, image):
    surrogate_defense = SurrogateDefense(classifier, knn(), gallery)
    assert (surrogate_defense.neighbors(stored, 3)[:, 0] == torch.arange(20)).double().mean() > 0.9
    other = surrogate_defense.neighbors(stored, 3, exclude_self=True)
    assert not (other == torch.arange(20)[:, None]).any()
    assert torch.equal(other[:, :2], surrogate_defense.neighbors(stored, 3)[:, 1:])
    assert torch.equal(surrogate_defense.neighbors(image, 3, exclude_self=True), surrogate_defense.neighbors(image, 3))


@pytest.mark.parametrize(
    "weighting", [CBWD(), Similarity(temperature=0.5), Similarity(similarity="euclidean", temperature=100.0)]
)
def test_members_by_degrees(gallery, classifier, image, weighting):
    surrogate_defense = SurrogateDefense(classifier, knn(weightings=[weighting]), gallery)
    near, features = surrogate_defense.neighbors(image, 9), surrogate_defense.features(image)
    nearness = Nearness(lambda: features, lambda: surrogate_defense.vectors(near, features))
    membership = (torch.arange(9) < 5).float().expand(20, 9)
    scores = surrogate_defense.scores(image)
    torch.testing.assert_close(surrogate_defense.vote(near, membership, nearness), scores, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(surrogate_defense.vote(near, torch.ones(20, 9), nearness), scores)


def test_images_of_another_size(gallery, classifier, image):
    surrogate_defense = SurrogateDefense(classifier, knn(), gallery)
    ids = surrogate_defense.neighbors(image, 2)
    assert surrogate_defense.images(ids, image).shape == (20, 2, 3, 8, 8)
    with pytest.raises(UserError, match=r"9×9 and 8×8 pixels: set data\.preprocessing"):
        surrogate_defense.images(ids, torch.zeros(20, 3, 9, 9))


def test_what_is_no_retrieval_says_so(classifier):
    surrogate_defense = SurrogateDefense(classifier, NoDefense())
    with pytest.raises(UserError, match="its threat's defense is NoDefense"):
        surrogate_defense.k  # noqa: B018
    with pytest.raises(UserError, match=r"no model\.database"):
        surrogate_defense.gallery  # noqa: B018


@pytest.mark.parametrize(("draws", "evaluations"), [(1, 10), (3, 4), (30, 1)])
def test_a_defense_that_averages_several_draws_is_asked_less_often(draws, evaluations, classifier):
    noisy = TransformedClassifier(transformation=Noisy(), draws=draws)
    assert SurrogateDefense(classifier, noisy).evaluations(10) == evaluations


def test_what_draws_nothing_is_asked_once_unless_its_network_draws(classifier):
    copy = SurrogateDefense(classifier, TransformedClassifier(transformation=BitDepth()))
    assert copy.evaluations(10) == 1
    classifier.randomized = True
    assert copy.evaluations(10) == 10
