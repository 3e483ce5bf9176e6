import json

import pytest

from lit_knn.report.dashboard import curve_names, points, summary
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
        "init_args": {"offline": True, "project": "tests", "tags": ["mine"]},
    }
    with restored(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_CONSOLE", "off")
        patch.setenv("WANDB_RUN_GROUP", "submission")
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


def test_each_size_is_a_point_of_every_curve(logged):
    folder, _, messages = logged
    found = [step for step in history(messages) if "size/relative_l2" in step]
    expected = points(Record.load(folder))
    assert [{name: step[name] for name in point} for step, point in zip(found, expected, strict=True)] == expected
    assert [point["size/relative_l2"] for point in found] == [0, 0.05, 0.1]


def test_curves_are_drawn_over_the_size_of_the_perturbation_not_over_steps(logged):
    metrics = [record.metric for kind, record in logged[2] if kind == "metric"]
    axes = {metric.name: metric.step_metric for metric in metrics if metric.name.startswith("curve/")}
    assert axes == dict.fromkeys(curve_names(Record.load(logged[0])).values(), "size/relative_l2")


def test_the_table_and_every_picture_are_logged(logged):
    folder, files, messages = logged
    (step,) = (step for step in history(messages) if any(name.startswith("results") for name in step))
    names = {name.split("/")[0] for name in step}
    assert names >= {"results", "pictures"}
    (table,) = files.rglob("results_*.table.json")
    content = json.loads(table.read_text())
    rows = Record.load(folder).results
    assert tuple(content["columns"]) == COLUMNS
    text = COLUMNS[: COLUMNS.index("topk")]
    expected = [
        [str(value) if name in text and name != "delta" else value for name, value in row.items()] for row in rows
    ]
    assert content["data"] == expected
    said = {name.split("/")[1]: step[name] for name in step if name.endswith("/caption")}
    drawn = sorted(folder.glob("*.png"))
    assert [picture.stem for picture in drawn] == ["accuracy", "neighbors-early", "neighbors-late"]
    assert {*said} == {"accuracy", "neighbors_early", "neighbors_late"}
    assert said["neighbors_late"] == "A query, clean and attacked, and its nearest neighbors at the tap late"
    for picture in drawn:
        (copy,) = files.rglob(f"{picture.stem.replace('-', '_')}_*.png")
        assert copy.read_bytes() == picture.read_bytes()


def test_configuration_and_folder_are_there(logged):
    folder, _, messages = logged
    keys = {item.key for kind, record in messages if kind == "config" for item in record.config.update}
    keys |= {item.key for kind, record in messages if kind == "run" for item in record.run.config.update}
    assert {"model", "data", "trainer"} <= keys
    found = {
        ("/".join(item.nested_key) or item.key): json.loads(item.value_json)
        for kind, record in messages
        if kind == "summary"
        for item in record.summary.update
    }
    expected = {**summary(Record.load(folder)), "run_folder": str(folder)}
    assert {name: found[name] for name in expected} == expected


def test_the_run_is_called_grouped_and_tagged(logged):
    folder, _, messages = logged
    named = [record.run for kind, record in messages if kind == "run"]
    assert {run.display_name for run in named} == {folder.name}
    assert (named[-1].run_group, named[-1].job_type) == ("submission", "test")
    assert [*named[-1].tags] == ["mine", "relative_l2", "gray box"]
    assert not (folder / "wandb-id").exists()  # a test of the same folder would be another run


def test_without_the_logger_nothing_is_logged(built, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("test", built)
    assert not (tmp_path / "wandb").exists()
