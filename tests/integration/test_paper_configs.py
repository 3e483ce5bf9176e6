"""Every file of configs/paper from its first command to a report, on generated photographs and a thin ResNet-50."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from lit_knn.cli.main import main
from tests.conftest import restored

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER = sorted(path.stem for path in (CONFIGS / "paper").glob("*.yaml"))
SAME_STUDY = [path for folder in ("cifar10", "imagenette") for path in sorted((CONFIGS / folder).glob("*.yaml"))]
NETWORKS = """
import torch
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
def resnet(*args, **kwargs):
    torch.manual_seed(0)  # whichever networks were built before
    return ResNet(*args, **kwargs)
def resnet50(weights=None): return resnet(Bottleneck, [3, 4, 6, 3], width_per_group=4)
def resnet18(weights=None): return resnet(BasicBlock, [1, 1, 1, 1])
"""
CLASSES = ("n01440764", "n01443537", "n01484850")
LAYERS = ("conv_2_3", "conv_3_4", "conv_4_6", "conv_5_1", "flatten")
TINY = {
    "trainer": {"accelerator": "cpu", "enable_progress_bar": False},
    "data": {"preprocessing": {"resize": 64, "crop": 64}, "batch_size": 2, "num_workers": 0},
    "model": {
        "classifier": {"network": "networks.py:resnet50"},
        "database": {"taps": [{"layer": layer, "pool": 1, "dimension": 32} for layer in LAYERS]},
        "threats": [
            "GrayBox",
            {"class_path": "BlackBox", "init_args": {"surrogates": [{"network": "networks.py:resnet18"}]}},
        ],
    },
}


def command(path: Path) -> list[str]:
    """Return the configurations that a file's own comment names."""
    (line,) = (line for line in path.read_text().splitlines() if line.startswith("#   lit-knn test"))
    return line.split("--config ")[1:]


@pytest.mark.parametrize("path", [CONFIGS / "paper" / f"{name}.yaml" for name in PAPER] + SAME_STUDY, ids=str)
def test_the_first_comment_has_the_command(path):
    base, own = (CONFIGS.parent / part.strip() for part in command(path))
    assert base.is_file()
    assert own == path


@pytest.mark.parametrize("path", [path for path in SAME_STUDY if path.stem != "table2"], ids=str)
def test_the_same_study_differs_in_sizes_and_layers_only(path):
    """What is attacked, by whom and how, and what answers, are the paper's."""
    ours, papers = (yaml.safe_load(file.read_text()) for file in (path, CONFIGS / "paper" / path.name))
    for part in (ours, papers):
        part.pop("data", None)
        part["model"].pop("cache", None)
        part["model"]["deltas"] = len(part["model"]["deltas"])
        for defense in part["model"]["defenses"][1:]:
            defense["init_args"].pop("taps")
    del ours["trainer"], papers["trainer"]
    assert ours == papers


def shortened(model: dict[str, Any]) -> dict[str, Any]:
    """Return what a configuration of the paper takes here: fewer sizes, steps and patches, and no download."""
    found: dict[str, Any] = {}
    if isinstance(model.get("database", {}).get("rows"), list):
        found["database"] = {"rows": [0.1, None]}
    if "CWL2" in str(model["attacks"]):
        found["attacks"] = [
            {"class_path": "CWL2", "init_args": {"mode": "paper", "steps": 2, "binary_search_steps": 2}}
        ]
    if "Quilting" in str(model["defenses"]):
        transformation = {"class_path": "Quilting", "init_args": {"patches": {"count": 2000, "index": "Flat"}}}
        quilting = {"class_path": "TransformedClassifier", "init_args": {"transformation": transformation}}
        left_out = ("Quilting", "OtherClassifier")
        others = [part for part in model["defenses"] if not any(name in str(part) for name in left_out)]
        found["defenses"] = [*others, quilting]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a user would stand: with ImageNet in `data`, three of its classes, and a database that is built."""
    folder = tmp_path_factory.mktemp("paper")
    rng = np.random.default_rng(0)
    for split, images in (("train", 680), ("val", 3)):
        for number, name in enumerate(CLASSES):
            place = folder / "data" / "imagenet" / split / name
            place.mkdir(parents=True)
            for image in range(images):
                noise = rng.integers(0, 200, (8, 8, 3)) + 50 * (np.arange(3) == number)
                picture = Image.fromarray(noise.astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
                picture.save(place / f"{name}_{image}.JPEG")
    (folder / "networks.py").write_text(NETWORKS)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    os.symlink(CONFIGS, folder / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for step in ("extract", "index"):
            with restored():
                main([step, "--config", "configs/imagenet.yaml", "--config", "tiny.yaml"])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_each_runs_from_its_command_to_a_report(name, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    base, own = (part.strip() for part in command(CONFIGS / "paper" / f"{name}.yaml"))
    small = shortened(yaml.safe_load(Path(own).read_text())["model"])
    Path("small.yaml").write_text(yaml.safe_dump({"data": {"num_queries": 2}, "model": small}))
    options = [part for file in (base, "tiny.yaml", own, "small.yaml") for part in ("--config", file)]
    if name == "table2":
        with restored():
            main(["index", *options])
    with restored():
        main(["test", *options])
    run = Path("runs/imagenet") / name
    assert (run / "record.json").is_file()
    with restored():
        main(["report", str(run), "--output", str(folder / "reports" / name)])
    assert "none" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["paper", "cifar10", "imagenette", "imagenette_swapped"])
def test_chains_name_each_file_once(folder):
    """And first what looks at all layers, of which the others then find all that they need in the cache."""
    lines = (CONFIGS / folder / "chains.txt").read_text().splitlines()
    chains = [line.split() for line in lines if not line.startswith(("#", "database:", "base:"))]
    study = CONFIGS / folder.removesuffix("_swapped")
    assert sorted(Path(name).stem for chain in chains for name in chain) == sorted(
        path.stem for path in study.glob("*.yaml")
    )
    for first, *others in chains:
        attacks = [
            yaml.safe_load((CONFIGS / folder / f"{name}.yaml").read_text())["model"] for name in (first, *others)
        ]
        assert all(model["attacks"] == attacks[0]["attacks"] for model in attacks)
        assert all(set(model["deltas"]) <= set(attacks[0]["deltas"]) for model in attacks)
