"""Images as people have them, through the command line: the right numbers, or one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest

from lit_knn.data import Digits
from tests.conftest import run


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """The digits as a notebook saves them: floats in [0, 1], channels first, labels in the same file."""
    for split in ("train", "test"):
        shard = Digits(split=split).open_shard(0)
        samples = [shard.read(row) for row in range(len(shard))]
        images = np.stack([sample.image for sample in samples]).transpose(0, 3, 1, 2) / np.float32(255)
        np.savez(tmp_path / f"{split}.npz", x=images, y=[sample.label for sample in samples])
    return tmp_path


def results(folder: Path) -> list[dict]:
    return json.loads((folder / "record.json").read_text())["results"]


@pytest.mark.slow
def test_floats_of_a_file_give_the_numbers_of_the_bytes(config, arrays, reference):
    for name, split in (("queries", "test"), ("database", "train")):
        settings = {"images": str(arrays / f"{split}.npz"), "images_key": "x", "labels_key": "y"}
        config["data"][name] = {"class_path": "Arrays", "init_args": settings}
    config["model"]["database"] |= {"build_missing": True}
    assert results(run("test", config)) == results(reference)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"images_key": "z"}, "holds 'x', 'y': there is no 'z'"),
        ({}, "holds 'x', 'y': name one of them"),
        ({"images_key": "y", "labels_key": "y"}, "has shape (500,): accepted are (M, H, W, 3)"),
        ({"images_key": "x"}, "has no label, which queries need"),
        ({"images_key": "x", "labels_key": "y", "rows": [400, 501]}, "holds 500 images"),
    ],
)
def test_arrays_that_do_not_go_together(built, arrays, mistake, settings, sentence):
    settings = {"images": str(arrays / "test.npz"), **settings}
    built["data"]["queries"] = {"class_path": "Arrays", "init_args": settings}
    assert sentence in mistake("test", built)
