import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database
from lit_knn.defenses import KNN, FusedKNN, Query
from lit_knn.defenses.neighbors.remoteness import remoteness, searched_by
from tests.conftest import TAPS


def test_the_mean_distance_to_the_neighbors_of_each_variant(database_path, classifier, data):
    database = Database(path=database_path, taps=[Tap(**tap) for tap in TAPS])
    gallery = database.open(classifier, data, ["early+late"])[-1]
    image = data.on_after_batch_transfer(data.first_queries())["image"][:6]

    def asked(defense):
        return remoteness(defense, Query(image, classifier, gallery, defense.needed))

    knn, fused = KNN(taps=["early", "late"], k=[2, 5]), FusedKNN(taps=["early", "late"], k=[5])
    assert searched_by(knn)[::3] == [(["early"], 2), (["early"], 5), (["late"], 2), (["late"], 5)]
    query = Query(image, classifier, gallery, {"early": 5, "late": 5, "early+late": 5})
    by_hand = {tap: query.neighbors(tap).distances.mean(1) for tap in ("early", "late", "early+late")}
    found = asked(knn)
    assert torch.equal(found[3], by_hand["early"])
    assert torch.equal(found[11], by_hand["late"])
    votes, _, _, united, _, _, features = asked(fused)[:7]
    together = (by_hand["early"] * gallery.factor("early") + by_hand["late"] * gallery.factor("late")) / 2
    torch.testing.assert_close(votes, together)
    assert torch.equal(united, votes)
    assert torch.equal(features, by_hand["early+late"])
