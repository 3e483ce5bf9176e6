import contextlib
import csv
import io
import json
from importlib import metadata

import pytest
import torch
import yaml

from lit_knn.attacks import PGD, RandomNoise
from lit_knn.backbones import Classifier
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database
from lit_knn.database.store import Store
from lit_knn.defenses import KNN, NoDefense
from lit_knn.engine.callbacks import run_record
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from lit_knn.report.results import Record
from lit_knn.report.results.record import COLUMNS
from lit_knn.report.results.runs import find_runs
from lit_knn.report.results.samples import read_samples
from tests.conftest import NETWORK, run, tiny
from tests.evaluation.test_module import Scale


def test_the_record_tells_what_was_run(reference, database_path, classifier):
    record = Record.load(reference)
    assert record.run == reference.name == "run-001"
    assert record.seed == 0
    assert set(record.seconds) == {"test"}
    assert record.seconds["test"] > 0
    assert record.versions["torch"] == metadata.version("torch")
    assert {"python", "lit_knn", "numpy"} < set(record.versions)
    assert record.versions["device"] == f"cpu, {torch.backends.cpu.get_cpu_capability()}"
    assert record.fingerprints["classifier"] == classifier.fingerprint()
    assert record.fingerprints["attacked by gray_box"] == classifier.fingerprint()
    none = record.results[0]
    assert (none["defense"], none["delta"], none["topk"]) == ("none", 0.0, 1)
    expected = {"right while clean": none["correct"], "in the database": 0}
    assert record.queries == {"images": 130, "source": "digits-test", **expected}
    assert record.warnings == []
    assert record.config["data"]["batch_size"] == 50
    assert record.config["model"]["deltas"] == [0.05, 0.1]

    store = Store(database_path / "store")
    assert record.database["rows"] == 1297
    assert record.database["skipped"] == []
    assert record.database["checksum"] == store.checksum
    assert record.database["dataset"] == "digits-train"


def test_the_record_tells_what_each_attack_took(reference):
    """Two steps of 130 queries."""
    attack = {"threat": "gray_box", "attack": "PGD", "forward": 260, "backward": 260}
    assert Record.load(reference).passes == [attack | {"delta": delta} for delta in (0.05, 0.1)]


def test_each_row_of_the_record_is_the_sum_of_what_became_of_each_query(reference):
    (found,) = find_runs([reference]).finished
    samples = read_samples(found, found.record.results)
    assert samples.counts.sum(axis=1).tolist() == [row["correct"] for row in found.record.results]


def test_the_csv_holds_the_results_of_the_record(reference):
    results = json.loads((reference / "record.json").read_text())["results"]
    rows = list(csv.DictReader((reference / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert len(results) == 3 * (1 + 2 * 2 * 3) * 2  # Δ × variants × top-k
    assert [tuple(row) for row in rows] == [COLUMNS] * len(results)
    assert rows == [{name: str(value) for name, value in row.items()} for row in results]
    assert {row["n"] for row in rows} == {"130"}


def test_the_folder_holds_the_configuration(reference):
    assert yaml.safe_load((reference / "config.yaml").read_text()) == Record.load(reference).config


def test_the_configuration_names_classes_by_their_kind_and_can_be_run_again(reference, tmp_path):
    text = (reference / "config.yaml").read_text()
    assert "class_path: PGD" in text
    assert "class_path: lit_knn" not in text
    run("test", yaml.safe_load(text), "--trainer.default_root_dir", str(tmp_path), "--trainer.run", "again")
    assert (tmp_path / "again" / "results.csv").read_bytes() == (reference / "results.csv").read_bytes()


def test_the_record_keeps_where_in_the_paper_it_belongs_as_the_last_file_says(config, tmp_path):
    first = config | {"paper": {"table": "2", "row": "IN-1.3M"}}
    overlay = {"paper": {"figure": 5, "panel": "gray"}, "model": {"defenses": ["NoDefense"], "deltas": [0.1]}}
    (tmp_path / "figure.yaml").write_text(yaml.safe_dump(overlay))
    found = Record.load(run("test", first, "--config", str(tmp_path / "figure.yaml"), "--data.num_queries=10"))
    assert found.config["paper"] == {"figure": 5, "panel": "gray"}
    assert "paper" not in found.fingerprints


def test_the_record_has_the_seed_of_a_test_in_python(measure, tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")  # what `seed_everything` leaves
    measure()
    assert Record.load(tmp_path / "x").seed == 7


def test_a_run_without_retrieval_has_no_database(tmp_path):
    config = tiny(tmp_path / "none", tmp_path / "runs")
    config["model"]["defenses"] = [{"class_path": "NoDefense"}]
    del config["model"]["database"]
    del config["data"]["database"]
    folder = run("test", config)
    assert Record.load(folder).database == {}
    assert not list(folder.glob("neighbors-*"))
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


# ---------------------------------------------------------------- what to know before a number is believed


@pytest.mark.parametrize("index", [{"class_path": "Faiss"}, None])
def test_queries_in_the_database_are_counted_and_said(built, capsys, index):
    """Against a comparison of all pixels; searched batch by batch, and all at once at the end."""
    built["data"]["queries"]["init_args"]["split"], built["data"]["allow_overlap"] = "all", True
    built["model"]["database"]["index"] = index
    record = Record.load(run("test", built))
    asked, rows = (Digits(split=split).open_shard(0) for split in ("all", "train"))
    ids = ImageData(queries=Digits(split="all"), num_queries=130).expected_query_ids().tolist()
    images = {rows.read(row).image.tobytes() for row in range(len(rows))}
    stored = sum(asked.read(id).image.tobytes() in images for id in ids)
    assert 0 < stored < 130
    assert record.queries["in the database"] == stored
    (sentence,) = (sentence for sentence in record.warnings if "of 130" in sentence)
    assert sentence.startswith(f"{stored} of 130 queries are in the database")
    assert any("one of them is all digits" in sentence for sentence in record.warnings)
    assert f"Warning: {sentence}." in " ".join(capsys.readouterr().out.split())


def test_a_classifier_that_guesses_is_said_even_if_only_others_answer(tmp_path, measure):
    """Labels that are one off, as those of a stray folder."""
    (tmp_path / "off.py").write_text(
        "from torch import nn\nfrom lit_knn.backbones.digits import digits_resnet\n\n\nclass Off(nn.Sequential):\n"
        "    def forward(self, image):\n        return super().forward(image).roll(1, 1)\n\n\n"
        "def off():\n    return Off(digits_resnet())\n"
    )
    measure(classifier=Classifier(**NETWORK | {"network": f"{tmp_path / 'off.py'}:off"}), defenses=[Scale(1.0)])
    record = Record.load(tmp_path / "x")
    (sentence,) = (sentence for sentence in record.warnings if "guessing" in sentence)
    right = record.queries["right while clean"]
    assert right == record.results[0]["correct"]
    assert sentence.startswith(
        f"the classifier is right about {right} of 40 clean queries, no better than guessing one of 10"
    )


# ---------------------------------------------------------------- going on, from Python


@pytest.fixture
def measure(tmp_path, database):
    """Run a test without any configuration; return its results."""

    def call(run="x", precision="32-true", limit=1.0, **changes):
        given = {"attacks": [PGD(steps=1)], "deltas": [0.1], "defenses": [NoDefense()], "topk": [1], **changes}
        evaluation = Evaluation(**{"classifier": Classifier(**NETWORK), **given})
        options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "precision": precision}
        trainer = EvalTrainer(default_root_dir=tmp_path, run=run, limit_test_batches=limit, **options)
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
    with pytest.raises(UserError, match=r"results of another run: defenses\.0\._factor is 1\.0 where 0\.1 is expected"):
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
    with pytest.raises(UserError, match=r"another run: .*N=1297' where '.*N=300' is expected"):
        measure(database=scanned(300), **knn)


def test_a_smaller_limit_does_not_replace_a_record(measure, tmp_path):
    folder = tmp_path / "x"
    measure()
    whole = {path.name: path.read_bytes() for path in folder.glob("*.*")}
    with pytest.raises(UserError, match=r"record of 40 queries, .* one of 20: choose another trainer.run"):
        measure(limit=1)
    assert {path.name: path.read_bytes() for path in folder.glob("*.*")} == whole


@pytest.mark.parametrize("limit", [1, 0.5])
def test_what_broke_the_images_is_told_of_those_that_were_tested(measure, tmp_path, limit):
    two = {"attacks": [PGD(steps=1), PGD(steps=1, name="other")]}
    measure(**two)
    (tmp_path / "x" / "record.json").unlink()  # as if it had been stopped at its end
    measure(limit=limit, **two)
    rows = list(csv.DictReader((tmp_path / "x" / "broken_by.csv").read_text().splitlines()))
    assert len(rows) == Record.load(tmp_path / "x").queries["images"] == 20


@pytest.mark.parametrize("name", ["config.yaml", "record.json", "results.csv", "broken_by.csv", "accuracy.png"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_attacked(measure, tmp_path, monkeypatch, name):
    (tmp_path / "x" / name).mkdir(parents=True)
    monkeypatch.setattr(PGD, "attempts", lambda *_: pytest.fail("attacked"))
    with pytest.raises(UserError, match=rf"x/{name} cannot be written: it is a folder; remove it"):
        measure()


@pytest.mark.parametrize("defense", [Scale(0.1), KNN(taps=["late"], k=[5])], ids=["looking", "searching"])
def test_what_another_run_has_left_changes_nothing_where_its_origin_is_lost(defense, measure, scanned, tmp_path):
    measure(
        database=scanned(300), attacks=[PGD(steps=1), RandomNoise()], defenses=[type(defense)(**SIMILAR[type(defense)])]
    )
    (tmp_path / "x" / "origin.json").unlink()
    mine = {"attacks": [PGD(steps=2), RandomNoise()], "defenses": [defense]}
    assert measure(database=scanned(), **mine) == measure("y", database=scanned(), **mine)
    for name in ("results.csv", "broken_by.csv"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


SIMILAR = {Scale: {"factor": 1.0}, KNN: {"taps": ["late"], "k": [5]}}


def test_a_refused_run_leaves_the_other_one_as_it_was(measure, tmp_path):
    measure(defenses=[Scale(1.0)])
    before = {path: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"choose another trainer\.run"):
        measure(defenses=[Scale(0.1)])
    assert {path: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()} == before
