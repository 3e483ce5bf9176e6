import numpy as np
import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database.index import Neighbors
from lit_knn.database.store import NeighborPredictions
from lit_knn.defenses import CBWD, KNN, UW, Query, Variant
from lit_knn.errors import UserError


class FourPoints:
    """A database of four points on a line, the classes and confidences of which are easy to see."""

    points = np.array([0.0, 1.0, 2.0, 10.0])
    softmax = np.array([[1.0, 0.0], [0.4, 0.6], [0.4, 0.6], [0.0, 1.0]])

    def __init__(self):
        self.searches = []

    def tap(self, name):
        return Tap(name)

    def encoder(self, classifier):
        return classifier

    def project(self, tap, pooled):
        return pooled

    def search(self, tap, features, k):
        self.searches.append((tap, k))
        distances = np.abs(features.numpy() - self.points)
        ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return Neighbors(*map(torch.from_numpy, (ids, np.take_along_axis(distances, ids, 1).astype(np.float32))))

    def predictions(self, ids):
        return NeighborPredictions(torch.from_numpy(self.softmax)[ids].float(), None, 2)

    def weights(self, name, ids):
        return torch.from_numpy(self.softmax.max(1))[ids].float()


class Line:
    """Every tap is the first pixel."""

    def activations(self, image, taps):
        return {tap.name: image.flatten(1)[:, :1] for tap in taps}


def query(defense, database):
    image = torch.zeros(1, 3, 1, 1)
    return Query(image, Line(), database, defense.needed)


def test_hand_counted_votes():
    defense = KNN(taps=["a"], k=[3, 1], weightings=[UW(), CBWD()], combinations=["soft", "hard"])
    scores = defense(query(defense, FourPoints()))
    expected = {  # the query lies on the first point: its neighbors are 0, 1, 2
        ("soft", 1, "UW"): [1.0, 0.0],
        ("soft", 1, "CBW-D"): [1.0, 0.0],
        ("soft", 3, "UW"): [1.8 / 3, 1.2 / 3],
        ("soft", 3, "CBW-D"): [(1 + 0.24 * 2) / 2.2, 0.36 * 2 / 2.2],  # weights 1, .6, .6
        ("hard", 1, "UW"): [1.0, 0.0],
        ("hard", 1, "CBW-D"): [1.0, 0.0],
        ("hard", 3, "UW"): [1 / 3, 2 / 3],
        ("hard", 3, "CBW-D"): [1 / 2.2, 1.2 / 2.2],
    }
    assert [(v.combination, v.k, v.weighting) for v in defense.variants] == list(expected)
    torch.testing.assert_close(scores[:, 0], torch.tensor(list(expected.values())))


def test_one_search_at_the_largest_k_serves_all_variants_and_defenses():
    first = KNN(taps=["a", "b"], k=[1, 2], combinations=["soft", "hard"])
    second = KNN(taps=["a"], k=[4])
    database = FourPoints()
    shared = Query(torch.zeros(1, 3, 1, 1), Line(), database, {"a": 4, "b": 2})
    first_scores, second_scores = first(shared), second(shared)
    assert database.searches == [("a", 4), ("b", 2)]
    assert len(first_scores) == len(first.variants) == 24
    assert len(second_scores) == 3
    alone = first(Query(torch.zeros(1, 3, 1, 1), Line(), FourPoints(), {"a": 2, "b": 2}))
    assert torch.equal(first_scores, alone)


def test_variants_are_named():
    assert KNN(taps=["late"]).variants[0] == Variant("kNN", "late", 50, "UW", "soft")


@pytest.mark.parametrize("wrong", [{"taps": []}, {"taps": ["a", "a"]}, {"k": [0]}, {"k": []}, {"combinations": []}])
def test_bad_arguments(wrong):
    with pytest.raises(UserError, match="KNN takes"):
        KNN(**({"taps": ["a"]} | wrong))


def test_a_retrieval_defense_without_database():
    defense = KNN(taps=["a"])
    with pytest.raises(UserError, match=r"no model\.database"):
        defense(query(defense, None))


def test_attackers_copy_the_leading_variant_of_each_tap():
    defense = KNN(taps=["early", "late"], k=[5, 1], weightings=[UW(), CBWD()], combinations=["hard", "soft"])
    copies = defense.copies()
    assert [copy.variants for copy in copies] == [
        [Variant("kNN", tap, 5, "CBW-D", "soft")] for tap in ("early", "late")
    ]
    assert not any(copy.differentiable for copy in copies)
    assert defense.on("late").variants == [variant for variant in defense.variants if variant.tap == "late"]
