import multiprocessing
import os
from functools import partial

import pytest

from lit_knn.errors import UserError
from lit_knn.storage.first import write_first


def write_mine(path, number):
    write_first(path, str(number) * 100_000)


def test_one_of_many_writes_all_of_it_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "folder" / "a.json"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(partial(write_mine, path), range(8), chunksize=1)
    text = path.read_text()
    assert len(text) == 100_000
    assert len(set(text)) == 1
    assert os.listdir(path.parent) == ["a.json"]
    write_first(path, "another")
    assert path.read_text() == text


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_first(tmp_path / "file" / "a.json", "")
