import pytest
import torch

from lit_knn.backbones import Classifier, Tap
from lit_knn.database import Database, Resource, StoredGallery
from lit_knn.database.index import Faiss
from lit_knn.defenses import KNN, NoDefense, Requirements
from lit_knn.errors import UserError
from lit_knn.evaluation.readiness import joint_requirements, open_database, tapped_database
from lit_knn.threat_models import GrayBox, WhiteBox
from tests.conftest import SURROGATE


class Number(Resource):
    name = "number"

    def __init__(self, number):
        self.number = number

    def settings(self):
        return self.number

    def write(self, folder, classifier, gallery):
        (folder / "number").write_text(str(self.number))

    def read(self, folder):
        self.found = int((folder / "number").read_text())


class Needy(NoDefense):
    def __init__(self, number):
        self.number = Number(number)

    def requirements(self):
        return Requirements(image=False, resources=[self.number])


def test_those_of_defenses_and_of_attackers_copies_are_opened(
    database, classifier, data, gallery, monkeypatch, tmp_path
):
    defense, copy = Needy(3), Needy(3)
    required = joint_requirements([NoDefense(), defense], [GrayBox(), WhiteBox(defense=copy)])
    assert required.resources == [defense.number, copy.number]
    monkeypatch.setattr(database, "resource_path", lambda name: tmp_path / name)
    defense.number.build(tmp_path / "number", classifier, gallery)
    views = open_database(database, required, classifier, data)
    assert len(views) == 1
    assert defense.number.found == copy.number.found == 3


def test_two_that_differ_cannot_share_a_folder():
    with pytest.raises(UserError, match="two resources called number differ"):
        joint_requirements([Needy(1), Needy(2)], [])


def test_without_a_database_there_is_nowhere_to_look(classifier, data):
    with pytest.raises(UserError, match=r"no model\.database"):
        open_database(None, Requirements(resources=[Number(1)]), classifier, data)
    assert open_database(None, Requirements(), classifier, data) == []


def test_a_layer_that_does_not_exist_is_no_other_origin(classifier, data, database):
    assert tapped_database(database, classifier) is database
    taps = [Tap(layer="layer7", name="early"), database.taps["late"]]
    other = Database(path=database.path, taps=taps, index=Faiss())
    with pytest.raises(UserError, match="the network has no layer 'layer7'"):
        open_database(other, Requirements(neighbors={"early": 1}), classifier, data)
    encoder = Database(path=database.path, taps=taps[:1], network=Classifier(**SURROGATE))
    with pytest.raises(UserError, match="the network has no layer 'layer7'"):
        tapped_database(encoder, classifier)


def test_what_is_needed_together():
    several = joint_requirements([NoDefense(), KNN(taps=["a"], k=[3]), KNN(taps=["a", "b"], k=[2])], [GrayBox()])
    assert several == Requirements(neighbors={"a": 3, "b": 2}, image=False, resources=[])
    assert several.database
    assert not joint_requirements([NoDefense()], [WhiteBox(defense=KNN(taps=["a"]))]).database
    assert joint_requirements([NoDefense()], [WhiteBox(defense=Labeled())]).labels


class Labeled(NoDefense):
    def requirements(self):
        return Requirements(labels=True)


def test_labels_of_rows_have_to_be_known(database, classifier, data, monkeypatch):
    required = joint_requirements([Labeled()], [])
    assert len(open_database(database, required, classifier, data)) == 1
    monkeypatch.setattr(StoredGallery, "labels", lambda gallery, ids: torch.full(ids.shape, -1))
    with pytest.raises(UserError, match=r"goes by the labels of rows, but .* keeps none"):
        open_database(database, required, classifier, data)
