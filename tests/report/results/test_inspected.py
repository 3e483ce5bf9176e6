import json
from pathlib import Path

import pytest

from lit_knn.errors import UserError
from lit_knn.report.results import Run
from lit_knn.report.results.inspected import INSPECTED_FILE, INSPECTED_FOLDER, read_inspected
from lit_knn.storage.fingerprint import digest
from tests.report.conftest import make_inspected, make_record


@pytest.fixture
def run(tmp_path):
    run = Run("a", tmp_path, make_record())
    make_inspected(run)
    return run


def test_it_is_read_back(run):
    found = read_inspected(run)
    assert found.data == json.loads((run.folder / INSPECTED_FOLDER / INSPECTED_FILE).read_text())
    assert [path.parent for path in found.sheets] == [run.folder / INSPECTED_FOLDER] * 2


def test_without_one_or_of_another_run_there_is_none(run, tmp_path):
    assert read_inspected(run._replace(folder=tmp_path / "elsewhere")) is None
    path = run.folder / INSPECTED_FOLDER / INSPECTED_FILE
    path.write_text(path.read_text().replace(digest(run.record.fingerprints), "0" * 16))
    assert read_inspected(run) is None


@pytest.mark.parametrize("damage", ["changed", "missing", "form"])
def test_damage_is_told(damage, run):
    folder: Path = run.folder / INSPECTED_FOLDER
    sheet = next(folder.glob("*.png"))
    if damage == "changed":
        sheet.write_bytes(sheet.read_bytes() + b"more")
    elif damage == "missing":
        sheet.unlink()
    else:
        (folder / INSPECTED_FILE).write_text("{}")
    with pytest.raises(UserError, match="remove its folder, or run the same test again"):
        read_inspected(run)
