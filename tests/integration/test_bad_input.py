"""Bad input through the command line: one sentence, code 2, and nothing that was written is lost."""

import json
import shutil
from pathlib import Path

import h5py
import pytest
from PIL import Image

from lit_knn.database.store import Store
from tests.conftest import contents, run
from tests.data.conftest import encode, photo, samples, write_tar

SIZE = {"height": 8, "width": 8}


@pytest.fixture
def config(config, tmp_path):
    """Three tar files of 20 images each as the database; PCA sees every fourth image."""
    for shard in range(3):
        write_tar(tmp_path / f"part-{shard}.tar", samples(20 * shard, 20, **SIZE))
    urls = {"urls": str(tmp_path / "part-*.tar")}
    config["data"] |= {"database": {"class_path": "TarShards", "init_args": urls}, "batch_size": 10}
    config["model"]["database"]["projection_rows"] = 15
    return config


def damage(tar, row):
    """Overwrite one image in place, and return how to repair it."""
    before = tar.read_bytes()
    place = -1
    for _ in range(row + 1):
        place = before.index(b"\x89PNG", place + 1)
    tar.write_bytes(before[:place] + b"not an image" + before[place + 12 :])
    return lambda: tar.write_bytes(before)


# ---------------------------------------------------------------- images


@pytest.mark.parametrize(
    "row",
    [
        15,  # in the second batch of its shard
        5,
    ],
)
def test_a_damaged_image_stops_extract_and_whole_shards_are_kept(config, tmp_path, mistake, row):
    repair = damage(tmp_path / "part-2.tar", row)
    sentence = mistake("extract", config)
    assert f"s{40 + row:03d}" in sentence
    store = tmp_path / "database" / "store"
    before = contents(store)
    assert sorted(before) == ["shard-000000.h5", "shard-000001.h5"]  # and nothing half-written
    repair()
    run("extract", config)
    after = contents(store)
    assert before.items() <= after.items()
    assert "shard-000002.h5" in after


@pytest.mark.parametrize("row", [5, 4])  # beside the sample that PCA is fitted on, and in it
def test_a_damaged_image_may_be_skipped_and_is_listed_in_the_record(config, tmp_path, row):
    damage(tmp_path / "part-2.tar", row)
    config["data"]["on_error"] = "skip"
    run("extract", config)
    run("index", config)
    database = json.loads((run("test", config) / "record.json").read_text())["database"]
    assert database["rows"] == 59
    ((shard, place, key, reason),) = database["skipped"]
    assert (shard, place, key) == (2, row, f"s{40 + row:03d}")
    assert reason


def test_a_shard_without_one_good_image_has_no_rows_under_skip(config, tmp_path):
    for _ in range(20):
        damage(tmp_path / "part-1.tar", row=0)  # the first that is still good
    config["data"]["on_error"] = "skip"
    run("extract", config)
    run("index", config)
    database = json.loads((run("test", config) / "record.json").read_text())["database"]
    assert database["rows"] == 40
    assert [key for _, _, key, _ in database["skipped"]] == [f"s{20 + row:03d}" for row in range(20)]


def test_the_part_of_a_shard_without_one_good_image(config, tmp_path):
    """Nothing that this process reads tells how many columns there are."""
    for _ in range(20):
        damage(tmp_path / "part-1.tar", row=0)
    config["data"]["on_error"] = "skip"
    run("fit", config)
    for number in (2, 1, 3):
        run("extract", config, f"--part={number}/3")
    assert len(Store(Path(config["model"]["database"]["path"]) / "store")) == 40


def test_a_database_without_one_good_image_is_an_error_even_under_skip(config, tmp_path, mistake):
    for shard in range(3):
        for _ in range(20):
            damage(tmp_path / f"part-{shard}.tar", row=0)
    config["data"]["on_error"] = "skip"
    assert "no image of the database" in mistake("extract", config)


def test_a_damaged_query_is_an_error_even_under_skip(built, tmp_path, mistake):
    tar = write_tar(tmp_path / "queries.tar", samples(0, 20, **SIZE))
    damage(tar, 3)
    built["data"] |= {"queries": {"class_path": "TarShards", "init_args": {"urls": str(tar)}}, "num_queries": None}
    built["data"]["on_error"] = "skip"
    assert "s003 of shard queries" in mistake("test", built)


def test_damaged_queries_may_be_left_out_and_are_listed_in_the_record(built, tmp_path):
    tar = write_tar(tmp_path / "queries.tar", samples(0, 20, **SIZE) | {"s007.png": encode(Image.new("RGB", (8, 8)))})
    damage(tar, 3)
    built["data"] |= {"queries": {"class_path": "TarShards", "init_args": {"urls": str(tar)}}, "num_queries": None}
    built["data"] |= {"on_query_error": "skip", "batch_size": 1}
    built["model"]["defenses"].pop()
    record = json.loads((run("test", built) / "record.json").read_text())
    assert {row["n"] for row in record["results"]} == {record["queries"]["images"]} == {18}
    assert [key for key, _ in record["queries"]["left out"]] == ["s003", "s007"]
    assert any("2 queries are left out: s003" in sentence for sentence in record["warnings"])


def test_images_of_different_size(config, tmp_path, mistake):
    members = samples(40, 20, **SIZE) | {"s043.png": encode(photo(0, height=9, width=8))}
    write_tar(tmp_path / "part-2.tar", members)
    sentence = mistake("extract", config)
    assert "s043" in sentence
    assert "data.preprocessing" in sentence


@pytest.mark.parametrize("labels", [range(20), [None] * 20])
def test_labels_outside_the_classes_or_missing(built, tmp_path, mistake, labels):
    members = samples(0, 20, **SIZE)
    for number, label in enumerate(labels):
        members[f"s{number:03d}.cls"] = str(label).encode()
        if label is None:
            del members[f"s{number:03d}.cls"]
    urls = {"urls": str(write_tar(tmp_path / "queries.tar", members))}
    built["data"] |= {"queries": {"class_path": "TarShards", "init_args": urls}, "num_queries": None}
    assert "label" in mistake("test", built)


# ---------------------------------------------------------------- tar files


@pytest.mark.parametrize("keep", [0, 700, 5000])
def test_a_tar_file_cut_in_the_middle(config, tmp_path, mistake, keep):
    tar = tmp_path / "part-1.tar"
    tar.write_bytes(tar.read_bytes()[:keep])
    assert str(tar) in mistake("extract", config)


def test_no_tar_file(config, mistake, tmp_path):
    config["data"]["database"]["init_args"]["urls"] = str(tmp_path / "none-*.tar")
    assert "none-*.tar" in mistake("extract", config)


# ---------------------------------------------------------------- stores


@pytest.fixture
def copied(built, tmp_path):
    """A configuration whose database may be damaged."""
    folder = tmp_path / "copy"
    shutil.copytree(built["model"]["database"]["path"], folder)
    built["model"]["database"]["path"] = str(folder)
    return built


SHARD = "store/shard-000000.h5"


def unfinish(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


MANIFEST, PROJECTION = "store/manifest.json", "projection/late.h5"


@pytest.mark.parametrize(
    ("file", "damage"), [(SHARD, cut), (SHARD, unfinish), (MANIFEST, cut), (MANIFEST, Path.unlink), (PROJECTION, cut)]
)
def test_what_is_damaged_is_named_and_the_command_that_is_recommended_mends_it(copied, mistake, file, damage):
    folder = Path(copied["model"]["database"]["path"])
    before = contents(folder)
    damage(folder / file)
    for command in ("test", "index"):
        sentence = mistake(command, copied)
        assert str(folder / file) in sentence
        assert "run `lit-knn extract`" in sentence
        assert "delete" not in sentence
    run("extract", copied)
    assert contents(folder) == before


def test_an_index_that_was_cut(copied, mistake):
    index = Path(copied["model"]["database"]["path"]) / "index" / "late" / "merged-000001.faiss"
    index.write_bytes(index.read_bytes()[:-100])
    sentence = mistake("test", copied)
    assert str(index) in sentence
    assert "lit-knn index" in sentence


@pytest.mark.parametrize("command", ["extract", "index", "test"])
def test_a_store_of_another_model_is_not_used_and_not_overwritten(copied, mistake, command):
    folder = Path(copied["model"]["database"]["path"])
    before = contents(folder)
    sentence = mistake(command, copied, "--model.classifier.std", "[0.4, 0.5, 0.5]")
    assert "classifier is 'digits_resnet-" in sentence
    assert contents(folder) == before


@pytest.mark.parametrize("command", ["extract", "index", "test", "verify"])
def test_a_layer_that_does_not_exist_is_told_as_such_beside_a_database(copied, mistake, command):
    folder = Path(copied["model"]["database"]["path"])
    before = contents(folder)
    copied["model"]["database"]["taps"][0]["layer"] = "layer7"
    assert "the network has no layer 'layer7'; near it are layer" in mistake(command, copied)
    assert contents(folder) == before


def test_a_test_makes_a_lost_projection_again_where_it_may(copied):
    lost = Path(copied["model"]["database"]["path"]) / "projection" / "early.h5"
    before = lost.read_bytes()
    lost.unlink()
    copied["model"]["database"]["build_missing"] = True
    copied["model"]["deltas"], copied["data"]["num_queries"] = [0.1], 4
    assert (run("test", copied) / "record.json").exists()
    assert lost.read_bytes() == before


def test_a_store_of_another_tap_preprocessing_or_dataset(copied, mistake):
    copied["data"]["allow_overlap"] = True
    for options, difference in (
        (("--data.preprocessing.resize", "16"), "preprocessing is"),
        (("--data.database.split", "all"), "dataset is 'digits-train'"),
    ):
        assert difference in mistake("test", copied, *options)
    assert "set it to dense" in mistake("test", copied, "--model.database.softmax", "packed")
    assert "projection rows is 'all'" in mistake("test", copied, "--model.database.projection_rows", "300")
    copied["model"]["database"]["taps"][0]["layer"] = "layer1.1.add"
    assert "tap early is 'layer1.0.add" in mistake("test", copied)


@pytest.mark.parametrize("command", ["index", "test"])
def test_a_missing_database_names_the_command_that_builds_it(config, mistake, command):
    assert "lit-knn extract" in mistake(command, config)


def test_a_missing_index_names_the_command_that_builds_it(copied, mistake):
    shutil.rmtree(Path(copied["model"]["database"]["path"]) / "index")
    assert "lit-knn index" in mistake("test", copied)


# ---------------------------------------------------------------- settings that only the data can refuse


def test_fewer_rows_than_neighbors(built, mistake):
    built["model"]["defenses"][1]["init_args"]["k"] = [5, 1298]
    sentence = mistake("test", built)
    assert "1,297" in sentence
    assert "1,298" in sentence


def test_more_queries_than_there_are(built, mistake):
    assert "500 queries" in mistake("test", built, "--data.num_queries", "501")


@pytest.mark.parametrize("command", ["extract", "test"])
def test_a_network_that_gives_nan(built, tmp_path, mistake, command):
    (tmp_path / "broken.py").write_text(
        "from lit_knn.backbones.digits import digits_resnet\n"
        "def network():\n"
        "    net = digits_resnet()\n"
        "    net.conv1.weight.data[0] = float('nan')\n"
        "    return net\n"
    )
    built["model"]["classifier"] = {"network": f"{tmp_path}/broken.py:network"}
    if command == "extract":
        built["model"]["database"]["path"] = str(tmp_path / "new")
    else:
        built["model"]["defenses"] = [{"class_path": "NoDefense"}]
    assert "NaN" in mistake(command, built)
    assert not (tmp_path / "new").exists()
