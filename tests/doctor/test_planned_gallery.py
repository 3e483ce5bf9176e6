import pytest

from lit_knn.backbones import Classifier
from lit_knn.database import Database
from lit_knn.doctor.planned_gallery import PlannedGallery
from tests.conftest import SURROGATE


@pytest.fixture
def planned(database, gallery):
    return PlannedGallery(database, [], 0, len(gallery))


def test_it_says_what_the_opened_database_says(planned, gallery, classifier):
    assert len(planned) == len(gallery)
    assert [planned.column(tap) for tap in ("early", "late")] == [gallery.column(tap) for tap in ("early", "late")]
    assert planned.tap("late") == gallery.tap("late")
    assert planned.encoder(classifier) is gallery.encoder(classifier) is classifier
    assert len(planned.view(10, 30)) == len(gallery.view(10, 30)) == 20


def test_views_are_the_same_where_their_rows_are(planned, gallery):
    for one in (planned, gallery):
        windows = [(0, len(one)), (0, 30), (0, 30), (10, 40)]
        whole, first, again, other = (one.view(*window).resident().identity() for window in windows)
        assert whole == one.identity()
        assert first == again
        assert first != other != whole != first


def test_another_network_or_index_or_folder_is_another_one(planned, database, tmp_path):
    taps, network = list(database.taps.values()), Classifier(**SURROGATE)
    others = [
        Database(path=tmp_path, taps=taps, index=database.index),
        Database(path=database.path, taps=taps),
        Database(path=database.path, taps=taps, index=database.index, network=network),
    ]
    found = [PlannedGallery(other, [], 0, len(planned)) for other in others]
    identities = [planned.identity(), *(one.identity() for one in found)]
    assert all(identities.count(identity) == 1 for identity in identities)
    assert found[2].encoder(Classifier(**SURROGATE)) is network
    assert found[2].column("early") != planned.column("early")
