"""Other networks beside the defended one, each with its own size, mean, std and classes, through the command line."""

import csv

import pytest
import torch
import torch.nn.functional as F

from lit_knn.backbones.digits import digits_surrogate
from lit_knn.data import Digits, ImageData
from tests.conftest import SURROGATE, run, tiny

FILE = """
import torch
from torch import nn
from lit_knn.backbones.digits import digits_surrogate
class Wide(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.model = digits_surrogate(pretrained=False)
        self.classes = classes
    def forward(self, x):  # of another size, in pixels of [0, 255]
        logits = self.model(nn.functional.avg_pool2d(x, 2) / 127.5 - 1)
        others = torch.full_like(logits, 99)  # classes that nobody asks for
        return torch.stack([logits, others], 2).flatten(1)[:, :self.classes]
def wide(classes=20): return Wide(classes)
"""
COPY = {"class_path": "PGD", "init_args": {"steps": 10, "objective": "DefenseMargin"}}


@pytest.fixture
def rival(tmp_path):
    """A checkpoint as others publish them: names begin with ``module.``, and are below ``state_dict``."""
    (tmp_path / "wide.py").write_text(FILE)
    state = {f"module.model.{name}": value for name, value in digits_surrogate().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "robust.pt")
    classifier = {"network": f"{tmp_path}/wide.py:wide", "weights": str(tmp_path / "robust.pt"), "mean": [0.0] * 3}
    classifier |= {"std": [1 / 255] * 3, "input_size": 16, "classes": list(range(0, 20, 2))}
    return {"class_path": "OtherClassifier", "init_args": {"classifier": classifier, "name": "robust"}}


@pytest.fixture
def config(config, rival):
    config["model"] |= {
        "database": None,
        "deltas": [0.2],
        "attacks": [{"class_path": "PGD", "init_args": {"steps": 10}}],
    }
    config["model"]["defenses"] = ["NoDefense", rival]
    return config


def accuracies(folder):
    with (folder / "results.csv").open() as file:
        return {
            (r["threat"], r["defense"], r["delta"]): float(r["accuracy"])
            for r in csv.DictReader(file)
            if r["topk"] == "1"
        }


def test_a_checkpoint_of_another_size_and_other_classes_stands_in_the_table(config):
    """Clean, it is right where the network alone is in a plain loop; attacked as such, it falls where it did not."""
    config["model"]["threats"] = ["GrayBox", "WhiteBox"]
    config["model"]["attacks"].append(COPY)
    found = accuracies(run("test", config))
    data = ImageData(queries=Digits(split="test"), num_queries=130, batch_size=130)
    batch = data.first_images(torch.device("cpu"))
    plain, label = digits_surrogate().eval(), data.first_queries()["label"]
    enlarged = F.interpolate(batch["image"], (16, 16), mode="bilinear")
    right = (plain((F.avg_pool2d(enlarged, 2) - 0.5) / 0.5).argmax(1) == label).double().mean().item()
    assert found["gray_box", "robust", "0.0"] == pytest.approx(right, abs=1e-6)
    assert right > 0.8
    assert found["white_box robust", "robust", "0.2"] < 0.1 < found["gray_box", "robust", "0.2"]
    assert found["gray_box", "none", "0.2"] < 0.1 < found["white_box robust", "none", "0.2"]


def test_a_surrogate_of_another_size_and_other_classes(config, rival):
    surrogate = rival["init_args"]["classifier"]
    config["model"] |= {
        "defenses": ["NoDefense"],
        "threats": [
            {"class_path": "BlackBox", "init_args": {"surrogates": [one], "name": name}}
            for name, one in (("other", surrogate), ("same", dict(SURROGATE)))
        ],
    }
    found = accuracies(run("test", config))
    assert found["other", "none", "0.2"] == pytest.approx(found["same", "none", "0.2"], abs=0.25)
    assert found["other", "none", "0.2"] < found["other", "none", "0.0"] - 0.2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": None}, "network wide has 20 classes and answers in place of digits_resnet, which has 10"),
        ({"classes": [0, 2]}, "network wide has 2 classes and answers in place of digits_resnet, which has 10"),
        ({"classes": [*range(9), 20]}, "classes 0 to 19, but its `classes` name 20"),
        ({"classes": [1, 1]}, "a list of different numbers from 0 is accepted"),
        ({"input_size": 0}, "input_size is 0: accepted are one number of pixels from 1, or height and width"),
        ({"weights": "nowhere.pt"}, "weights nowhere.pt do not exist"),
        ({"arguments": {"classes": 1}, "classes": None}, "at least two classes, are needed"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_sentence(config, rival, mistake, changes, sentence):
    rival["init_args"]["classifier"] |= changes
    assert sentence in mistake("test", config)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda state: state.pop("module.model.fc.bias"),
            "do not fit the network: it has nothing else where the network has",
        ),
        (
            lambda state: state.update({"module.model.head": torch.zeros(3, 4)}),
            "it has 'model.head' (3, 4), which the network lacks",
        ),
        (
            lambda state: state.update({"module.model.fc.bias": torch.zeros(12)}),
            "size mismatch for model.fc.bias, (12,) in the file, (10,)",
        ),
    ],
)
def test_missing_and_extra_keys_are_named(config, rival, mistake, change, sentence):
    path = rival["init_args"]["classifier"]["weights"]
    content = torch.load(path, weights_only=True)
    change(content["state_dict"])
    torch.save(content, path)
    assert sentence in mistake("test", config)


def test_resources_and_indexes_over_several_taps_stand_in_one_table(tmp_path):
    """What a resource was made from is what a test opens, with an index over the taps side by side."""
    config = tiny(tmp_path / "database", tmp_path / "runs")
    config["data"]["num_queries"] = 20
    config["model"] |= {"attacks": ["RandomNoise"], "deltas": [0.1]}
    patches = {"transformation": {"class_path": "Quilting", "init_args": {"patches": {"count": 500, "per_image": 4}}}}
    config["model"]["defenses"] = [
        {"class_path": "TransformedClassifier", "init_args": patches},
        {"class_path": "DeepKNN", "init_args": {"taps": ["early", "late"], "k": 5, "calibration": 50}},
        {"class_path": "FusedKNN", "init_args": {"taps": ["early", "late"], "k": [5]}},
    ]
    for command in ("extract", "index"):
        run(command, config)
    found = accuracies(run("test", config))
    assert {defense for _, defense, _ in found} >= {"quilting", "DkNN", "fused features"}
