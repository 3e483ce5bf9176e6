import contextlib
import csv
import io
import json
from importlib import metadata

import pytest
import yaml

from lit_knn.attacks import PGD
from lit_knn.backbones import Classifier
from lit_knn.callbacks import run_record
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.defenses import KNN, Defense, NoDefense, Variant
from lit_knn.errors import UserError
from lit_knn.evaluation import Evaluation
from lit_knn.report import Record
from lit_knn.report.record import COLUMNS
from lit_knn.store import Store
from lit_knn.trainer import EvalTrainer

from ..conftest import NETWORK, run, tiny


def test_the_record_tells_what_was_run(reference, database_path, classifier):
    record = Record.load(reference)
    assert record.run == reference.name == "run-001"
    assert record.seed == 0
    assert set(record.seconds) == {"test"}
    assert record.seconds["test"] > 0
    assert record.versions["torch"] == metadata.version("torch")
    assert {"python", "lit_knn", "numpy"} < set(record.versions)
    assert record.fingerprints["classifier"] == classifier.fingerprint()
    assert record.fingerprints["attacked by gray_box"] == classifier.fingerprint()
    assert record.queries == {"images": 130, "source": "digits-test"}
    assert record.config["data"]["batch_size"] == 50
    assert record.config["model"]["deltas"] == [0.05, 0.1]

    store = Store(database_path / "store")
    assert record.database["rows"] == 1297
    assert record.database["skipped"] == []
    assert record.database["checksum"] == store.checksum
    assert record.database["dataset"] == "digits-train"


def test_the_csv_holds_the_results_of_the_record(reference):
    results = json.loads((reference / "record.json").read_text())["results"]
    rows = list(csv.DictReader((reference / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert len(results) == 3 * (1 + 2 * 2 * 3) * 2  # Δ × variants × top-k
    assert [tuple(row) for row in rows] == [COLUMNS] * len(results)
    assert rows == [{name: str(value) for name, value in row.items()} for row in results]
    assert {row["n"] for row in rows} == {"130"}


def test_the_folder_holds_the_configuration(reference):
    assert yaml.safe_load((reference / "config.yaml").read_text()) == Record.load(reference).config


def test_a_run_without_retrieval_has_no_database(tmp_path):
    config = tiny(tmp_path / "none", tmp_path / "runs")
    config["model"]["defenses"] = [{"class_path": "NoDefense"}]
    del config["model"]["database"]
    del config["data"]["database"]
    folder = run("test", config)
    assert Record.load(folder).database == {}
    assert not list(folder.glob("neighbours-*"))
    assert (folder / "accuracy.png").is_file()


def test_the_terminal_gets_the_table_and_the_place(built, capsys):
    folder = run("test", built)
    printed = capsys.readouterr().out
    assert "kNN early" in printed
    assert str(folder) in printed


def test_a_machine_without_git(monkeypatch):
    assert run_record._revision().removesuffix("-dirty").isalnum() or run_record._revision() == ""
    monkeypatch.setenv("PATH", "")
    assert run_record._revision() == ""


# ---------------------------------------------------------------- going on, from Python


class Scale(Defense):
    variants = [Variant("scaled")]  # noqa: RUF012

    def __init__(self, factor):
        self._factor = factor

    def __call__(self, query):
        return query.classify(query.image * self._factor)[None]


@pytest.fixture
def measure(tmp_path, database):
    """Run a test without any configuration; return its results."""

    def call(run="x", precision="32-true", **changes):
        given = {"attacks": [PGD(steps=1)], "deltas": [0.1], "defenses": [NoDefense()], "topk": [1], **changes}
        evaluation = Evaluation(classifier=Classifier(**NETWORK), **given)
        options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "precision": precision}
        trainer = EvalTrainer(default_root_dir=tmp_path, run=run, **options)
        data = ImageData(queries=Digits(split="test"), database=Digits(split="train"), num_queries=40, batch_size=20)
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.test(evaluation, data)
        return evaluation.results

    return call


@pytest.fixture
def scanned(database):
    """The same database, of so many rows, searched in one pass at the end."""
    return lambda rows=None: Database(path=database.path, taps=list(database.taps.values()), rows=rows)


def test_another_defense_of_the_same_name_is_another_run(measure):
    measure(defenses=[Scale(1.0)])
    with pytest.raises(
        UserError, match=r"outcomes of another run: defenses\.0\._factor is 1\.0 where 0\.1 is expected"
    ):
        measure(defenses=[Scale(0.1)])


def test_another_precision_is_another_run(measure):
    measure()
    with pytest.raises(UserError, match="precision is '32-true' where 'bf16-mixed' is expected"):
        measure(precision="bf16-mixed")


def test_a_finished_run_completes_what_was_lost_of_it(measure, scanned, tmp_path):
    knn = {"defenses": [NoDefense(), KNN(taps=["late"], k=[5])]}
    first = measure(database=scanned(), **knn)
    for name in ("record.json", "results.csv", "accuracy.png"):
        (tmp_path / "x" / name).unlink()
    assert measure(database=scanned(), **knn) == first
    assert Record.load(tmp_path / "x").results == first
    assert (tmp_path / "x" / "accuracy.png").is_file()
    with pytest.raises(UserError, match="rows of 1297 rows is 'all' where 'absent' is expected"):
        measure(database=scanned(300), **knn)
