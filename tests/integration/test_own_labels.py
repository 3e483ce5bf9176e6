"""Images and labels as people have them, through the command line: the network's own accuracy, or one sentence."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from lit_knn.backbones.digits import digits_resnet
from lit_knn.data import Digits
from tests.conftest import run
from tests.data.conftest import write_tar

COUNT = 60
NAMES = [f"c{digit}" for digit in range(10)]
TEN = {"classes": NAMES}


@pytest.fixture(scope="module")
def digits():
    """Keys, pixels and labels of some digits, and whether the network is right about each."""
    shard = Digits(split="test").open_shard(0)
    samples = [shard.read(row) for row in range(COUNT)]
    image = torch.stack([torch.from_numpy(sample.image).permute(2, 0, 1) for sample in samples]).float() / 255
    label = np.array([sample.label for sample in samples])
    right = digits_resnet().eval()((image - 0.5) / 0.5).argmax(1).numpy() == label
    return [(row, sample.image, int(sample.label)) for row, sample in enumerate(samples)], right


@pytest.fixture
def queries(config, digits, tmp_path):
    """Write digits as files below `tmp_path`, and return a configuration whose queries they are."""

    def write(name, keep=lambda label: True, kind="ImageFolder", **settings):
        images = {}
        for row, pixels, label in digits[0]:
            if keep(label):
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "png")
                images[name(row, label)] = buffer.getvalue()
        if kind == "TarShards":
            place = {"urls": str(write_tar(tmp_path / "x.tar", images))}
        else:
            place = {"root": str(tmp_path / "q")}
            for path, data in images.items():
                (tmp_path / "q" / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "q" / path).write_bytes(data)
        config["data"] = {"queries": {"class_path": kind, "init_args": {**place, **settings}}, "batch_size": 20}
        config["model"] |= {"database": None, "defenses": [{"class_path": "NoDefense"}], "deltas": [0.1]}
        config["model"]["attacks"] = [{"class_path": "FGSM"}]
        return config

    return write


def clean(folder):
    (row,) = (
        row
        for row in json.loads((folder / "record.json").read_text())["results"]
        if row["delta"] == 0 and row["topk"] == 1
    )
    return row["correct"], row["n"]


def some(label):
    return label in (3, 5, 8)


RIGHT = {
    "all folders": (lambda row, label: f"c{label}/{row}.png", None, {}),
    "counted from 1": (lambda row, label: f"{label + 1}/{row}.png", None, {}),
    "some, and a list": (lambda row, label: f"c{label}/{row}.png", some, TEN),
    "some, and their numbers": (
        lambda row, label: f"c{label}/{row}.png",
        some,
        {"classes": {"c3": 3, "c5": 5, "c8": 8}},
    ),
    "tar, and a list": (lambda row, label: f"train/c{label}/{row}.png", some, {"kind": "TarShards", **TEN}),
}
REFUSED = {
    "some folders": (
        lambda row, label: f"c{label}/{row}.png",
        some,
        {},
        "are 3 classes, but the network has 10 classes: give `classes:`",
    ),
    "another list": (
        lambda row, label: f"c{label}/{row}.png",
        None,
        {"classes": NAMES[:9]},
        "'c9', which is none of them",
    ),
    "a longer list": (
        lambda row, label: f"c{label}/{row}.png",
        None,
        {"classes": [*NAMES, "c10"]},
        "lists 11 classes, but the network has 10",
    ),
    "ImageNet": (lambda row, label: f"n01440764/{row}.png", None, {}, "but the network has 10 classes"),
    "no folders": (
        lambda row, label: f"{row}.png",
        None,
        {},
        "has no label, which queries need: give each class a sub-folder",
    ),
    "tar without labels": (lambda row, label: f"{row}.png", None, {"kind": "TarShards"}, "put a class into KEY.cls"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_accuracy_is_the_networks(case, queries, digits, tmp_path):
    name, keep, settings = RIGHT[case]
    config = queries(name, keep or (lambda label: True), **settings)
    if case == "all folders":
        (tmp_path / "q" / "__MACOSX").mkdir()  # sorts before all classes
    kept = np.array([keep is None or keep(label) for _, _, label in digits[0]])
    assert clean(run("test", config)) == (digits[1][kept].sum(), kept.sum())


@pytest.mark.parametrize("case", REFUSED)
def test_labels_that_mean_nothing_are_refused(case, queries, mistake):
    name, keep, settings, sentence = REFUSED[case]
    assert sentence in mistake("test", queries(name, keep or (lambda label: True), **settings))


def test_labels_in_a_file_and_queries_in_another(queries, digits, tmp_path, mistake):
    (tmp_path / "labels.csv").write_text("id,label\n" + "".join(f"{row:03d},c{label}\n" for row, _, label in digits[0]))
    config = queries(lambda row, label: f"{row:03d}.png", labels=str(tmp_path / "labels.csv"), **TEN)
    (tmp_path / "list.txt").write_text("".join(f"{row:03d}.png\n" for row in range(COUNT - 1, 0, -2)))
    config["data"]["query_subset"] = str(tmp_path / "list.txt")
    run("test", config, "--trainer.run", "run-1", "--trainer.limit_test_batches", "1")
    assert clean(run("test", config, "--trainer.run", "run-1")) == (digits[1][1::2].sum(), COUNT // 2)
    (tmp_path / "list.txt").write_text("000\n001\n")
    assert "queries is" in mistake("test", config, "--trainer.run", "run-1")


def test_one_folder_of_another_name_shifts_no_labels(config, tmp_path, mistake):
    pixels = np.random.default_rng(0).integers(1, 255, (20, 8, 8, 3), dtype=np.uint8)
    for row, image in enumerate(pixels):
        side, name = ("q", "C1" if row == 1 else NAMES[row]) if row < 10 else ("b", NAMES[row - 10])
        (tmp_path / side / name).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / side / name / f"{row}.png")
    for part, side in (("queries", "q"), ("database", "b")):
        config["data"][part] = {"class_path": "ImageFolder", "init_args": {"root": str(tmp_path / side)}}
    sentence = mistake("test", config)
    assert "'c0' is number 1 of them" in sentence
    assert "b are 10 classes and it is number 0: give `classes:`" in sentence
