import copy
import inspect

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from lit_knn.backbones import Classifier, Tap
from lit_knn.backbones.digits import digits_resnet
from lit_knn.data import Digits, ImageData, ImageFolder, Preprocessing, TarShards
from lit_knn.database import Database
from lit_knn.database.index import Faiss
from lit_knn.database.store import Store
from lit_knn.errors import UserError
from tests.conftest import NETWORK, TAPS
from tests.data.conftest import encode, photo, write_tars

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
        ({"key_width": 0}, "key_width is 0; 1 and more"),
        ({"order_seed": -1}, "order_seed is -1; 0 and more"),
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


def parameters(part):
    return set(inspect.signature(part).parameters)


@pytest.fixture
def files(tmp_path):
    """Weights, folders and tar files to choose from."""
    network = digits_resnet()
    torch.save(
        {"a": network.state_dict(), "b": {**network.state_dict(), "fc.bias": torch.zeros(10)}}, tmp_path / "w.pt"
    )
    torch.save(network.state_dict(), tmp_path / "one.pt")
    for name in ("0/a.png", "1/b.png", "1/c.png"):
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(encode(photo(0, 8, 8)))
    (tmp_path / "labels.txt").write_text("0/a.png 1\n1/b.png 0\n1/c.png 0\n")
    (tmp_path / "own.py").write_text(
        "from lit_knn.backbones.digits import digits_resnet as base\n"
        "import torch\ndef digits_resnet(cut=False):\n    net = base()\n"
        "    net.fc = torch.nn.Sequential(net.fc, torch.nn.ReLU() if cut else torch.nn.Identity())\n    return net\n"
    )
    write_tars(tmp_path, 3, 4, height=8, width=8)
    return tmp_path


@pytest.mark.parametrize(
    ("part", "given", "material", "immaterial"),
    [
        (
            Tap,
            TAPS[0],
            {
                "layer": "layer2.1.add",
                "pool": 1,
                "dimension": 16,
                "bits": True,
                "channels": "first",
                "prefix_tokens": 1,
                "metric": "cosine",
                "name": "other",
            },
            {},
        ),
        (Preprocessing, {"resize": 16, "crop": 8}, {"resize": 12, "crop": 12, "interpolation": "bicubic"}, {}),
        (
            Classifier,
            {"network": "FILES/own.py:digits_resnet", "mean": [0.5] * 3, "std": [0.5] * 3},
            {
                "network": "lit_knn.backbones.digits.digits_resnet",
                "arguments": {"cut": True},
                "mean": [0.5, 0.5, 0.4],
                "std": [0.4, 0.5, 0.5],
                "input_size": 16,
                "classes": list(range(9, -1, -1)),
                "output": 0,
                "name": "another",
            },
            {"channels_last": False, "fold": False, "compile": True},  # last bits only
        ),
        (
            Classifier,
            {"network": NETWORK["network"], "weights": "FILES/w.pt", "weights_key": "a"},
            {"weights_key": "b"},
            {"channels_last": False, "fold": False, "compile": True},
        ),
        (
            Database,
            {"path": "FILES/d", "taps": [Tap(**TAPS[0])]},
            {
                "taps": [Tap(**TAPS[1])],
                "projection_rows": 300,
                "network": Classifier(network="lit_knn.backbones.digits.digits_surrogate"),
            },
            {
                "path": "FILES/e",
                "index": "auto",
                "build_missing": True,
                "rows": 100,
                "order_seed": 1,  # views of the same rows
                "softmax": "packed",
                "key_width": 80,  # columns of the store: its schema has them
            },
        ),
        (
            ImageData,
            {"queries": Digits(split="test"), "database": Digits(split="train")},
            {"database": Digits(split="all"), "preprocessing": Preprocessing(resize=8)},
            {
                "queries": Digits(split="all"),
                "query_subset": ["0"],
                "num_queries": 7,
                "query_seed": 3,
                "allow_overlap": True,
                "batch_size": 32,
                "num_workers": 1,  # last bits only
                "on_query_error": "skip",
                "on_error": "skip",  # images that are left out are in the store
            },
        ),
        (Digits, {"split": "train"}, {"split": "all"}, {}),
        (
            ImageFolder,
            {"root": "FILES/folder"},
            {"classes": ["1", "0"], "labels": "FILES/labels.txt", "shard_size": 2},
            {"root": "FILES/./folder"},
        ),
        (TarShards, {"urls": "FILES/part-*.tar"}, {"urls": "FILES/part-*0.tar", "classes": ["1", "0"]}, {}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_fingerprints_know_every_setting_that_changes_a_row(files, classifier, data, part, given, material, immaterial):
    def at(value):
        return value.replace("FILES", str(files)) if isinstance(value, str) else value

    def origins(**changes):
        made = part(**{name: at(value) for name, value in {**given, **changes}.items()})
        network, images, database = classifier, data, Database(path=files / "d", taps=[Tap(**TAPS[0])])
        if part is Tap:
            database = Database(path=files / "d", taps=[made])
        elif part is Preprocessing:
            images = ImageData(queries=data.queries, database=data.database, preprocessing=made)
        elif part is Classifier:
            network = made
        elif part is Database:
            database = made
        elif part is ImageData:
            images = made
        else:
            images = ImageData(queries=data.queries, database=made)
        return database.origins(network, images)

    expected = origins()
    assert origins() == expected
    unknown = parameters(part) - given.keys() - material.keys() - immaterial.keys()
    of_the_twin = {"weights", "weights_key", "output", "arguments", "network", "mean", "std", "name"}
    assert unknown <= of_the_twin | {"input_size", "classes"}
    for name, value in material.items():
        assert origins(**{name: value}) != expected, name
    for name, value in immaterial.items():
        assert origins(**{name: value}) == expected, name


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
        ("index/late/merged-000001.faiss", "index"),
        ("index/late/merged-000001.faiss.json", "index"),
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


@pytest.mark.parametrize("rows", [1.0, [0.1, 0.5, 1.0]])
def test_a_share_of_one_is_not_one_row(rows, tmp_path):
    with pytest.raises(UserError, match=r"is 1\.0, which may be one row or all of them: write 1, or null for all"):
        Database(path=tmp_path, taps=[Tap(**TAPS[0])], rows=rows)
    assert Database(path=tmp_path, taps=[Tap(**TAPS[0])], rows=[1, 10]).sizes(1297) == [1, 10]


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
