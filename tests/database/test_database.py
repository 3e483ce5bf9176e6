import copy

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from lit_knn.backbones import Classifier, Tap
from lit_knn.data import Digits, ImageData, Preprocessing
from lit_knn.database import Database
from lit_knn.errors import UserError
from lit_knn.index import Faiss
from lit_knn.store import Store

from ..conftest import NETWORK, TAPS

# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("softmax", "classes", "packs"),
    [("auto", 64, False), ("auto", 65, True), ("dense", 1000, False), ("packed", 10, True)],
)
def test_softmax_is_shortened_where_that_is_shorter(tmp_path, softmax, classes, packs):
    assert Database(path=tmp_path, taps=[Tap("a")], softmax=softmax).packs(classes) is packs


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"taps": []}, "at least one"),
        ({"taps": [Tap("a"), Tap("b", name="a")]}, "different names"),
        ({"projection_rows": 1}, "projection_rows is 1"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        Database(**{"path": tmp_path, "taps": [Tap("a")], **changes})


# ---------------------------------------------------------------- what belongs together


def test_the_fingerprint_names_everything_that_rows_depend_on(database, classifier, data):
    _, parts = database.fitted(classifier, data)
    assert set(parts) == {
        *("classifier", "dataset", "preprocessing", "projection rows"),
        *("tap early", "tap late", "projection early", "projection late"),
    }
    assert Store(database.store_path).fingerprint == parts
    assert database.is_complete()
    assert database.unfitted() == []
    assert database.unsealed([0, 1], parts) == [1]


@pytest.mark.parametrize("what", ["classifier", "dataset", "preprocessing", "tap early"])
def test_a_database_of_something_else_is_refused_and_the_difference_named(database, classifier, data, what):
    taps = [Tap(**tap) for tap in TAPS]
    if what == "classifier":
        classifier = Classifier(**{**NETWORK, "mean": [0.4] * 3})
    elif what == "dataset":
        data = ImageData(queries=data.queries, database=Digits(split="all"))
    elif what == "preprocessing":
        data = ImageData(queries=data.queries, database=data.database, preprocessing=Preprocessing(resize=16))
    else:
        taps = [Tap(**{**TAPS[0], "pool": 1}), taps[1]]
    changed = Database(path=database.path, taps=taps)
    with pytest.raises(UserError, match=f"{what} is '.*' where '.*' is expected"):
        changed.open(classifier, data)


def test_an_index_with_other_settings_is_refused(database, classifier, data):
    changed = Database(path=database.path, taps=[Tap(**tap) for tap in TAPS], index=Faiss(factory="HNSW8"))
    with pytest.raises(UserError, match="run `lit-knn index`"):
        changed.open(classifier, data)


def test_a_tap_less_needs_a_store_of_its_own(database, classifier, data):
    """The store says what it was made from as a whole."""
    changed = Database(path=database.path, taps=[Tap(**TAPS[0])])
    with pytest.raises(UserError, match=r"tap late is '.*' where 'absent' is expected"):
        changed.open(classifier, data)


def test_without_an_index_the_store_itself_is_searched(database, classifier, data, gallery, tmp_path):
    taps = [Tap(**tap) for tap in TAPS]
    scanned = Database(path=database.path, taps=taps).open(classifier, data)[-1]
    features = gallery.store.features("late", np.arange(0, 1297, 13)) + np.float32(0.01)
    expected = gallery.search("late", torch.from_numpy(features), 9)
    assert np.array_equal(scanned.search("late", torch.from_numpy(features), 9).ids, expected.ids)


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("projection/early.h5", "extract"),
        ("store/manifest.json", "extract"),
        ("store/shard-000000.h5", "extract"),
        ("index/late/merged.faiss", "index"),
        ("index/late/merged.faiss.json", "index"),
    ],
)
def test_whatever_is_missing_the_sentence_names_the_command(tmp_path, database, classifier, data, missing, command):
    changed = copy.copy(database)
    changed.path = tmp_path / "copy"
    for path in database.path.rglob("*"):
        if path.is_file() and path.relative_to(database.path).as_posix() != missing:
            target = changed.path / path.relative_to(database.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    with pytest.raises(UserError, match=f"run `lit-knn {command}`"):
        changed.open(classifier, data)


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (None, [1297]),
        (200, [200]),
        (0.25, [324]),
        (1e-9, [1]),
        (0.9999, [1297]),
        (5000, [5000]),  # whether there are so many is for the store to say
        ([None, 10, 0.5, 1297.0, 648], [10, 648, 1297]),
    ],
)
def test_sizes_are_numbers_or_shares(rows, sizes, tmp_path):
    assert Database(path=tmp_path, taps=[Tap(**TAPS[0])], rows=rows).sizes(1297) == sizes


@pytest.mark.parametrize("rows", [[], [0], [10, -1], [1.5], 0])
def test_sizes_that_are_neither(rows, tmp_path):
    with pytest.raises(UserError, match=r"rows is .*; whole numbers from 1, shares in \(0, 1\) and null for all"):
        Database(path=tmp_path, taps=[Tap(**TAPS[0])], rows=rows)


@pytest.mark.parametrize(
    ("written", "read"), [("500", "500"), ("[500, 0.5, null]", "[500, 0.5, None]"), ("0.2", "0.2")]
)
def test_yaml_leaves_sizes_as_they_are_written(written, read):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Database, "database")
    given = parser.parse_args([f"--database.rows={written}", "--database.path=x", "--database.taps=[{layer: a}]"])
    assert str(given.database.rows) == read
