import numpy as np
import pytest
import torch

from lit_knn.defenses import CBWD, CBWE, KNN, UW, Query
from lit_knn.errors import UserError
from lit_knn.evaluation.checks.binarization_gallery import BinarizationGallery
from lit_knn.threat_models.class_exemplars import ClassExemplars
from lit_knn.threat_models.surrogate_defense import SurrogateDefense


@pytest.fixture
def planted(classifier, data, gallery):
    """A few of the digits as rows of their own, with votes made up."""
    image = data.on_after_batch_transfer(data.first_queries())["image"][:12]
    features = SurrogateDefense(classifier, KNN(taps=["late"], k=[1], weightings=[UW()]), gallery).features(image)
    return BinarizationGallery(gallery, {"late": features}, torch.arange(12) % 3, image), features, image


def test_the_nearest_rows_are_those_of_a_plain_search(planted):
    gallery, features, _ = planted
    generator = torch.Generator().manual_seed(0)
    asked = features[:4] + torch.randn(4, features.shape[1], generator=generator)
    found = gallery.search("late", asked.requires_grad_(), 5)
    distance = np.linalg.norm(asked.detach().double().numpy()[:, None] - features.double().numpy(), axis=2)
    assert found.ids.tolist() == distance.argsort(axis=1)[:, :5].tolist()
    assert np.allclose(found.distances, np.sort(distance, axis=1)[:, :5], rtol=1e-6)
    assert (found.ids.dtype, found.distances.dtype) == (torch.int64, torch.float32)
    with pytest.raises(UserError, match="asks for 13 neighbors of 12 planted rows"):
        gallery.search("late", asked, 13)


@pytest.mark.parametrize("combination", ["soft", "hard"])
@pytest.mark.parametrize("weighting", [UW(), CBWE(), CBWD(), CBWD(m=3)])
def test_the_defense_votes_over_the_rows(planted, classifier, weighting, combination):
    gallery, _, image = planted
    nearest = KNN(taps=["late"], k=[1], weightings=[weighting], combinations=[combination])
    scores = nearest(Query(image, classifier, gallery, nearest.needed))[0]
    assert scores.tolist() == torch.eye(10)[torch.arange(12) % 3].tolist()  # each is next to itself


def test_an_attacker_reads_rows_as_of_a_store(planted, classifier):
    gallery, features, image = planted
    surrogate_defense = SurrogateDefense(classifier, KNN(taps=["late"], k=[1], weightings=[UW()]), gallery)
    ids = torch.tensor([[3, 0], [5, 11]])
    assert len(surrogate_defense.gallery) == 12
    assert torch.equal(surrogate_defense.vectors(ids, features), features[ids])
    assert torch.equal(surrogate_defense.images(ids, image[:2]), image[ids])
    assert surrogate_defense.nearest(features, 1, exclude_self=True)[:, 0].tolist() != list(range(12))
    exemplars = ClassExemplars(gallery, "late")
    assert exemplars.present.sum(1).tolist() == [4, 4, 4] + [0] * 7
    assert torch.equal(exemplars.nearest(features[:1], torch.tensor([[0]]), 1).vectors[0, 0], features[:1])
