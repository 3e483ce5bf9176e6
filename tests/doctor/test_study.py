import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.backbones import Tap
from lit_knn.data import ImageFolder, Preprocessing
from lit_knn.database import Database
from lit_knn.database.index import Faiss
from lit_knn.defenses import KNN, RandomCrop, TransformedClassifier
from lit_knn.defenses.transformations import Quilting
from lit_knn.doctor.disk import projection_bytes, store_bytes
from lit_knn.doctor.rates import Rates
from lit_knn.doctor.study import Command, Study
from lit_knn.evaluation.module import Evaluation
from tests.conftest import TAPS

CPU = torch.device("cpu")
RATES = Rates(1.0, 1.0, {"early": 128, "late": 128}, 10, 192)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("lit_knn.doctor.rates.SECONDS", 0.01)


@pytest.fixture
def command(classifier, data, tmp_path):
    def command(kind, *defenses, stage="all", **options):
        taps = [Tap(**tap) for tap in TAPS]
        database = Database(path=tmp_path, taps=taps, index=Faiss(factory="Flat"), **options)
        parts = {"attacks": [PGD(steps=2)], "deltas": [0.1], "defenses": [KNN(taps=["late"]), *defenses]}
        evaluation = Evaluation(classifier=classifier, database=database, **parts)
        return Command(kind, kind, evaluation, data, CPU, stage=stage)

    return command


@pytest.mark.parametrize(("wanted", "images"), [(None, 1297), (100, 109)])
def test_a_database_is_fitted_once_and_extracted(command, wanted, images):
    study, given = Study(), command("extract", projection_rows=wanted)
    fit, extract = study.steps(given)
    assert (fit.name, fit.images, fit.passes, extract.images) == ("fit, by extract", images, 1, 1297)
    assert fit.written == projection_bytes(given.evaluation.database, RATES)
    assert extract.written == 1297 * store_bytes(given.evaluation.database, RATES)
    assert fit.shared is extract.shared is True
    assert [step.name for step in study.steps(given)] == ["extract"]


def test_patches_take_room_beside_the_indexes(command):
    quilted = TransformedClassifier(transformation=Quilting())
    plain, patched = (Study().steps(command("index", *more))[0].written for more in ([], [quilted]))
    assert plain == 1297 * 2 * (4 * 24 + 8)
    assert patched - plain == 2 * 75 * 4 * 1_000_000


def test_rates_are_measured_once_for_all_that_share_network_and_images(command, monkeypatch):
    study, measured = Study(), []
    monkeypatch.setattr("lit_knn.doctor.study.measure", lambda *given: measured.append(1) or RATES)
    for kind in ("fit", "extract", "index", "test", "test"):
        study.steps(command(kind))
    assert len(measured) == 1


def test_without_images_each_is_told(command, data, tmp_path):
    data.queries = data.database = ImageFolder(root=tmp_path / "none")
    data.num_queries, data.preprocessing = None, Preprocessing(crop=8)
    study = Study()
    (extract,) = study.steps(command("extract"))[1:]
    (test,) = study.steps(command("test", TransformedClassifier(transformation=RandomCrop(), draws=30)))
    assert (extract.images, extract.written) == (None, store_bytes(command("test").evaluation.database, RATES))
    assert (test.images, test.passes) == (None, 2 * 31 + 4)
    assert extract.seconds > 0 < test.seconds
    assert test.written > 2 * 4 * (128 + 20)
    assert study.untold == [f"{tmp_path / 'none'} is not a folder"]


def test_without_images_of_a_known_size_passes_are_counted(command, data, tmp_path):
    data.queries = ImageFolder(root=tmp_path / "none")
    study = Study()
    (test,) = study.steps(command("test"))
    assert (test.images, test.passes, test.seconds, test.written) == (130, 6, None, None)
    assert "without images, only data.preprocessing.crop says what size they have" in study.untold
