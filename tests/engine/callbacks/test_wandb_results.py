import json

import pytest

from lit_knn.report.results import Record
from lit_knn.report.results.record import COLUMNS
from tests.conftest import restored, run

pytest.importorskip("wandb")


def leveldb_log(data):
    """Yield the records of a .wandb file: a header of 7 bytes, then LevelDB's log in blocks of 32 kB.

    References:
        https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    place, record = 7, b""
    while place < len(data):
        left = 32768 - place % 32768
        if left < 7:  # no room for a header: the block is padded
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


@pytest.fixture(scope="module")
def logged(tmp_path_factory, database_path):
    """A run with an offline WandbLogger: its folder, and what wandb wrote down: (kind of message, message)."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    from tests.conftest import tiny

    folder = tmp_path_factory.mktemp("wandb")
    config = tiny(database_path, folder / "runs")
    config["trainer"]["logger"] = {
        "class_path": "WandbLogger",
        "init_args": {"offline": True, "project": "tests", "name": "digits"},
    }
    with restored(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_CONSOLE", "off")
        found = run("test", config)
        wandb.finish()
        wandb.teardown()  # the process that writes the file has ended: finish() alone leaves it a moment to do so
    (path,) = found.glob("wandb/offline-run-*/run-*.wandb")  # nobody said where: in the run's folder
    messages = []
    for data in leveldb_log(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        messages.append((record.WhichOneof("record_type"), record))
    return found, path.parent, messages


def history(messages):
    """Return what was logged, step by step."""
    return [
        {("/".join(item.nested_key) or item.key): json.loads(item.value_json) for item in record.history.item}
        for kind, record in messages
        if kind == "history"
    ]


def test_accuracy_is_logged_against_the_realized_perturbation(logged):
    folder, _, messages = logged
    points = [step for step in history(messages) if "perturbation_norm" in step]
    results = Record.load(folder).results
    assert len(points) == 3  # Δ = 0, 0.05 and 0.1
    for row in results:
        line = "none"
        if row["tap"]:
            line = f"kNN-{row['tap']}-K={row['k']}-{row['weighting']}-{row['combination']}"
        name = f"curve/{row['threat']}/{row['attack']}/{line}/top{row['topk']}"
        (point,) = (point for point in points if point["perturbation_norm"] == row["delta_mean"])
        assert point[name] == row["accuracy"]
    assert sum(name.startswith("curve/") for point in points for name in point) == len(results)


def test_curves_are_drawn_over_the_perturbation_not_over_steps(logged):
    metrics = [record.metric for kind, record in logged[2] if kind == "metric"]
    assert [metric.step_metric for metric in metrics if metric.glob_name == "curve/*"] == ["perturbation_norm"]


def test_the_table_and_every_picture_are_logged(logged):
    folder, files, messages = logged
    (step,) = (step for step in history(messages) if any(name.startswith("results") for name in step))
    names = {name.split("/")[0] for name in step}
    assert names >= {"results", "accuracy", "neighbors-early", "neighbors-late"}
    (table,) = files.rglob("results_*.table.json")
    content = json.loads(table.read_text())
    rows = Record.load(folder).results
    assert tuple(content["columns"]) == COLUMNS
    expected = [[str(value) if name in ("k", "rows") else value for name, value in row.items()] for row in rows]
    assert content["data"] == expected
    for picture in folder.glob("*.png"):
        (copy,) = files.rglob(f"{picture.stem}_*.png")
        assert copy.stat().st_size > 0


def test_configuration_and_folder_are_there(logged):
    folder, _, messages = logged
    keys = {item.key for kind, record in messages if kind == "config" for item in record.config.update}
    keys |= {item.key for kind, record in messages if kind == "run" for item in record.run.config.update}
    assert {"model", "data", "trainer"} <= keys
    summary = {item.key: item.value_json for kind, r in messages if kind == "summary" for item in r.summary.update}
    assert json.loads(summary["run_folder"]) == str(folder)


def test_without_the_logger_nothing_is_logged(built, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("test", built)
    assert not (tmp_path / "wandb").exists()
