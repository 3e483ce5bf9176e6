import dataclasses
import errno
import json
from pathlib import Path

import pytest

from lit_knn.errors import UserError
from lit_knn.report.results.runs import PAGE_FILE, find_runs
from tests.report.conftest import make_record


@pytest.fixture
def root(tmp_path):
    for name in ("imagenet/run-10", "imagenet/run-9", "digits/run-1"):
        make_record(taps=(), deltas=(0.0, 0.1)).save(tmp_path / name)
    (tmp_path / "imagenet" / "run-11").mkdir()
    (tmp_path / "imagenet" / "run-11" / "origin.json").touch()
    (tmp_path / "imagenet" / "database" / "store").mkdir(parents=True)
    return tmp_path


def labels(*paths):
    runs = find_runs(paths)
    return [run.label for run in runs.finished], runs.unfinished


def test_a_folder_of_runs(root):
    assert labels(root / "imagenet") == (["run-9", "run-10"], ["run-11"])
    assert find_runs([root / "imagenet"]).base == root / "imagenet"


def test_a_folder_of_folders_of_runs(root):
    assert labels(root) == (["digits/run-1", "imagenet/run-9", "imagenet/run-10"], ["imagenet/run-11"])


def test_runs_in_any_order_and_a_record_are_each_there_once(root):
    nine, ten = root / "imagenet" / "run-9", root / "imagenet" / "run-10"
    assert labels(ten, nine, nine / "record.json", nine.parent / "." / "run-9") == (["run-9", "run-10"], [])


def test_one_run_lies_in_its_own_folder(root):
    runs = find_runs([root / "digits" / "run-1" / "record.json"])
    assert [run.label for run in runs.finished] == ["run-1"]
    assert runs.base == runs.finished[0].folder == root / "digits" / "run-1"


def test_a_record_under_another_name(root):
    other = root / "kept.json"
    (root / "digits" / "run-1" / "record.json").rename(other)
    (run,) = find_runs([other]).finished
    assert (run.label, run.folder) == ("kept.json", root)


def damaged(root):
    (root / "digits" / "run-1" / "record.json").write_text("{")


def of_another_schema(root):
    path = root / "digits" / "run-1" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))


def without_results(root):
    dataclasses.replace(make_record(), results=[]).save(root / "digits" / "run-1")


def unfinished(root):
    (root / "digits" / "run-1" / "record.json").unlink()
    (root / "digits" / "run-1" / "config.yaml").touch()


@pytest.mark.parametrize(
    ("change", "path", "sentence"),
    [
        (damaged, "digits", r"run-1/record\.json is damaged .*; remove it, or run its test again"),
        (of_another_schema, "digits", "record schema 99"),
        (without_results, "digits", "run-1 holds no results"),
        (unfinished, "digits", "no run is finished: no record.json in run-1"),
        (unfinished, "imagenet/database", "holds no run; give run folders"),
        (unfinished, "nowhere", "nowhere holds no run"),
    ],
)
def test_what_cannot_be_reported(root, change, path, sentence):
    change(root)
    with pytest.raises(UserError, match=sentence):
        find_runs([root / path])


def test_a_report_beside_runs_is_passed_over(root):
    report = root / "digits" / "report"
    report.mkdir()
    (report / PAGE_FILE).touch()
    runs = [path for path in (root / "digits").iterdir() if path != report]
    assert find_runs([*runs, report]).finished == find_runs(runs).finished
    with pytest.raises(UserError, match=r"there is a report in .*report, and no run"):
        find_runs([report])


def test_a_folder_that_may_not_be_searched(root, monkeypatch):
    """As a user meets it to whom another's runs are closed; root may search all."""
    closed, stat = root / "imagenet" / "run-10", Path.stat

    def refuse(path, **options):
        if closed in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(UserError, match=r"run-10 cannot be read: Permission denied"):
        find_runs([root / "imagenet"])
