"""A defense that needs more than rows, through the command line: built, sealed, opened, and told when not right."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_knn.backbones.digits import digits_resnet
from lit_knn.database import Resource
from lit_knn.defenses import Defense, Requirements, Variant
from tests.conftest import run


class MeanImage(Resource):
    """The mean of some images of the database."""

    name = "mean image"

    def __init__(self, *, images: int = 20) -> None:
        self.images = images

    def settings(self):
        return {"images": self.images}

    def write(self, folder, classifier, gallery):
        images = gallery.images(gallery.ids[None, : self.images])[0]
        np.save(folder / "mean.npy", images.mean(0).numpy())

    def read(self, folder):
        self.mean = np.load(folder / "mean.npy", allow_pickle=False)


class Centered(Defense):
    """Classify the image with a part of the mean image taken off."""

    random = False
    variants = [Variant("centered")]  # noqa: RUF012

    def __init__(self, *, mean: MeanImage, share: float = 0.1) -> None:
        self.mean, self.share = mean, share

    def requirements(self):
        return Requirements(resources=[self.mean])

    def __call__(self, query):
        mean = query.image.new_tensor(self.mean.mean)
        return query.classify(query.image - self.share * mean)[None]


class Faded(Defense):
    """Let the network go on with less of a layer."""

    random = False
    variants = [Variant("faded")]  # noqa: RUF012

    def __init__(self, *, layer: str, share: float = 0.5) -> None:
        self.layer, self.share = layer, share

    def requirements(self):
        return Requirements(layers=[self.layer])

    def __call__(self, query):
        return query.resume(self.layer, lambda activation: self.share * activation)[None]


def centered(images=20):
    mean = {"class_path": f"{__name__}.MeanImage", "init_args": {"images": images}}
    return {"class_path": f"{__name__}.Centered", "init_args": {"mean": mean}}


@pytest.fixture
def ready(config, database_path):
    """A database that is there already, and a defense that needs more."""
    shutil.copytree(database_path, config["model"]["database"]["path"])
    copied = {"class_path": "WhiteBox", "init_args": {"defense": centered()}}
    climbed = {"class_path": "PGD", "init_args": {"steps": 1, "objective": "DefenseMargin"}}
    config["model"] |= {
        "defenses": ["NoDefense", centered()],
        "deltas": [0.1],
        "attacks": [climbed],
        "threats": [copied],
    }
    return config


@pytest.fixture
def place(ready):
    return Path(ready["model"]["database"]["path"]) / "resources" / "mean image"


def results(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_it_is_built_by_index_opened_by_test_and_a_part_of_what_results_depend_on(ready, place):
    run("index", ready)
    sealed = (place / "sealed.json").read_bytes()
    run("index", ready)
    assert (place / "sealed.json").read_bytes() == sealed  # not built again
    found = run("test", ready)
    record = json.loads((found / "record.json").read_text())
    assert record["fingerprints"]["defenses"][1]["mean"]["identity"]["content"]
    first = (found / "results.csv").read_bytes()
    for path in [*sorted(found.rglob("delta-0.1/*.h5"))[::2], *found.glob("sample_results/*.npz")]:
        path.unlink()
    assert (run("test", ready, "--trainer.run", found.name) / "results.csv").read_bytes() == first
    lines = {row["defense"] for row in results(found)}
    assert lines == {"none", "centered"}
    run("verify", ready)


def test_what_is_missing_is_told_or_built(ready, place, mistake):
    assert mistake("test", ready).endswith(f"resource mean image in {place} is missing; run `lit-knn index` again")
    ready["model"]["database"]["build_missing"] = True
    run("test", ready)
    assert (place / "sealed.json").exists()


def test_what_is_damaged_or_of_other_settings_is_told_and_built_again(ready, place, mistake):
    run("index", ready)
    whole = {path.name: path.read_bytes() for path in place.iterdir()}
    (place / "mean.npy").write_bytes(whole["mean.npy"][:-1] + b"\x00")
    assert "is damaged (mean.npy has changed); run `lit-knn index` again" in mistake("test", ready)
    assert "1 finding" in mistake("verify", ready)
    run("index", ready)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == whole
    (place / "sealed.json").write_bytes(whole["sealed.json"][:50])
    assert f"resource mean image in {place} is damaged" in mistake("test", ready)
    run("index", ready)

    ready["model"]["defenses"][1] = ready["model"]["threats"][0]["init_args"]["defense"] = centered(images=5)
    assert "is of another origin: resource.1.images is 20 where 5 is expected" in mistake("test", ready)
    ready["model"]["database"]["build_missing"] = True  # and another one is missing: nothing gives way to it unasked
    ready["model"]["defenses"].append({"class_path": "DeepKNN", "init_args": {"taps": ["late"], "k": 5}})
    assert "is 20 where 5 is expected; run `lit-knn index` again, which replaces it, or" in mistake("test", ready)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == whole
    assert (place.parent / "dknn late 5" / "sealed.json").exists()
    run("index", ready)
    run("test", ready)
    ready["model"]["threats"][0]["init_args"]["defense"] = centered(images=6)
    assert "two resources called mean image differ" in mistake("test", ready)


def test_it_needs_a_database(ready, mistake):
    ready["model"]["database"] = None
    assert "has no model.database" in mistake("test", ready)


def test_the_network_goes_on_from_a_layer(config, data, mistake):
    faded = {"class_path": f"{__name__}.Faded", "init_args": {"layer": "layer3.1.add", "share": 0.0}}
    config["model"] |= {"database": None, "defenses": [faded], "attacks": ["FGSM"], "deltas": [0.1]}
    found = {float(row["accuracy"]) for row in results(run("test", config)) if row["topk"] == "1"}
    labels = torch.cat([batch["label"] for batch in data.test_dataloader()])
    always = digits_resnet().fc.bias.argmax()  # of no features at all
    assert [*found] == [pytest.approx(float((labels == always).float().mean()))]
    faded["init_args"]["layer"] = "layer9"
    assert "the network has no layer 'layer9'" in mistake("test", config)
