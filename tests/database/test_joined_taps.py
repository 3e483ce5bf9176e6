import numpy as np
import pytest
import torch

from lit_knn.backbones import Tap
from lit_knn.database import Database, features_of, joined, joined_among, parts_of, read_at
from lit_knn.database.building import IndexBuilder
from lit_knn.database.building.verification import findings
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from tests.conftest import TAPS

BOTH = "early+late"


@pytest.fixture
def scanned(database_path, classifier, data):
    return Database(path=database_path, taps=[Tap(**tap) for tap in TAPS]).open(classifier, data, [BOTH])[-1]


def test_names():
    assert joined(["early", "late"]) == BOTH
    assert joined(["late"]) == "late"
    assert parts_of(BOTH) == ["early", "late"]
    assert joined_among(["late", BOTH, "early", BOTH]) == (BOTH,)
    with pytest.raises(UserError, match=r"tap 'a\+b\+a' names a part twice"):
        joined_among(["a+b+a"])
    with pytest.raises(UserError, match=r"tap name 'a\+b' holds a '\+'"):
        Tap("layer1", name="a+b")


def test_each_part_counts_the_same(scanned):
    """Rows that have nothing to do with each other are about √2 apart at each tap, whatever its scale."""
    rows = scanned.vectors(BOTH, torch.arange(len(scanned)))
    for part in rows.split(24, dim=1):
        assert float(part.square().sum(dim=1).mean()) == pytest.approx(1, abs=0.02)


def test_features_of_images_are_those_of_their_rows(scanned, classifier, data):
    image = torch.stack([data.image("database", 0, row) for row in range(8)]) / 255
    taps = read_at(scanned, [BOTH, "late"])
    assert [tap.name for tap in taps] == ["early", "late"]
    activations = classifier.activations(image, taps)
    found = features_of(scanned, BOTH, activations)
    torch.testing.assert_close(found, scanned.vectors(BOTH, torch.arange(8)), rtol=2e-3, atol=2e-3)  # of float16
    assert torch.equal(features_of(scanned, "late", activations), scanned.project("late", activations["late"]))
    assert (scanned.search(BOTH, found, 1).ids[:, 0] == torch.arange(8)).all()


def test_vectors_are_the_same_where_nothing_is_searched_side_by_side(scanned, gallery):
    ids = torch.tensor([[3, 9], [1200, 0]])
    assert BOTH not in gallery.indexes
    assert torch.equal(gallery.vectors(BOTH, ids), scanned.vectors(BOTH, ids))


def test_an_index_of_their_own_is_built_opened_and_verified(database, classifier, data, scanned, tmp_path, monkeypatch):
    monkeypatch.setattr(Database, "index_path", lambda self, tap: tmp_path / tap)
    assert not database.is_complete(joined=[BOTH])
    IndexBuilder(database, classifier, data).build("all", Partition(), {}, joined=[BOTH])
    assert database.is_complete(joined=[BOTH])
    gallery = database.open(classifier, data, [BOTH])[-1]
    features = scanned.vectors(BOTH, torch.arange(0, 1297, 100)) + 0.01
    assert torch.equal(gallery.search(BOTH, features, 9).ids, scanned.search(BOTH, features, 9).ids)
    assert list(findings(database, classifier, data, Partition())) == []
    file = next((tmp_path / BOTH).glob("*.faiss"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert any(BOTH in finding for finding in findings(database, classifier, data, Partition()))


def test_what_the_database_does_not_have_is_refused(database, classifier, data):
    with pytest.raises(UserError, match="the database has no tap 'middle'; it has early, late"):
        database.open(classifier, data, ["early+middle"])


def test_views_search_their_own_rows(scanned):
    view = scanned.view(0, 300)
    features = view.vectors(BOTH, view.ids[:5])
    found = view.search(BOTH, features, 4)
    assert np.isin(found.ids, view.ids).all()
    assert torch.equal(found.ids[:, 0], view.ids[:5])
