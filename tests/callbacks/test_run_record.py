import csv
import json
from importlib import metadata

import yaml

from lit_knn.callbacks import run_record
from lit_knn.report import Record
from lit_knn.report.record import COLUMNS
from lit_knn.store import Store

from ..conftest import run, tiny


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
