import copy
import dataclasses
from pathlib import Path

import pytest

from lit_knn.report.results.paper import PUBLISHED, beside
from tests.report.conftest import make_record

PAPER = Path(__file__).parents[4] / "shared" / "paper.md"
PGD = {"class": "lit_knn.attacks.pgd.PGD", "steps": 10, "step": "sign"}
PGD |= {"objective": {"class": "lit_knn.attacks.objectives.classifier.CrossEntropy"}}
BLACK = ["model", "threats", 1, "init_args"]


def classifier(name):
    return {"network": f"torchvision/{name}", "arguments": {"weights": "IMAGENET1K_V1"}, "weights": None, "name": ""}


def source(split):
    return {"class_path": "lit_knn.data.ImageNet", "init_args": {"root": "data", "split": split, "shard_size": 10_000}}


def imagenet_run(searched=1_281_167):
    """A run of configs/imagenet.yaml, as its record would have it, with made-up accuracies."""
    config = {
        "model": {
            "classifier": classifier("resnet50"),
            "threats": [
                {"class_path": "lit_knn.threat_models.gray_box.GrayBox"},
                {
                    "class_path": "lit_knn.threat_models.black_box.BlackBox",
                    "init_args": {"surrogates": [classifier("resnet18")], "name": "black_box"},
                },
            ],
            "database": {
                "taps": [
                    {"layer": name, "pool": None, "dimension": 256, "name": ""} for name in ("conv_4_6", "conv_5_1")
                ],
                "rows": None,
            },
        },
        "data": {"queries": source("val"), "database": source("train")},
    }
    cases = [(threat, attack) for threat in ("gray_box", "black_box") for attack in ("PGD-sign", "PGD-L2")]
    record = make_record(cases, taps=("conv_4_6", "conv_5_1"), sizes=(searched,))
    fingerprints = {f"attack PGD-{step}": PGD | {"step": step.lower()} for step in ("sign", "L2")}
    return dataclasses.replace(record, config=config, fingerprints=fingerprints, database={"rows": 1_281_167})


def test_in_another_norm_nothing_is_the_papers():
    assert beside(imagenet_run())
    record = imagenet_run()
    in_linf = [row | {"norm": "linf"} for row in record.results]
    assert beside(dataclasses.replace(record, results=in_linf)) == []


def changed(path, value):
    record = imagenet_run()
    config = copy.deepcopy(record.config)
    part = config
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return dataclasses.replace(record, config=config)


def found(record):
    return {(b.variant.weighting, b.setting): b for b in beside(record)}


def test_a_run_in_the_setting_of_the_paper():
    published = found(imagenet_run())
    settings = ("clean", "gray box", "black box")
    assert set(published) == {(weighting, s) for weighting in ("", "UW", "CBW-E", "CBW-D") for s in settings}
    assert [published["UW", s].published for s in settings] == [0.472, 0.285, 0.311]
    assert [published["", s].published for s in settings] == [0.761, 0.038, 0.046]
    for (_, setting), b in published.items():
        row = b.measured
        assert row["topk"] == 1
        assert row["delta"] == (0 if setting == "clean" else 0.06)
        assert row["attack"] == "PGD-sign"
        assert setting in ("clean", row["threat"].replace("_", " "))
        assert row["defense"] == "none" or (row["tap"], row["k"], row["combination"]) == ("conv_5_1", 50, "soft")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["model", "classifier", "network"], "torchvision/resnet101"),
        (["model", "classifier", "arguments"], {"weights": "IMAGENET1K_V2"}),
        (["model", "classifier", "weights"], "mine.pth"),
        (["data", "queries"], source("train")),
        (["data", "queries"], {"class_path": "lit_knn.data.ImageFolder", "init_args": {"root": "val"}}),
    ],
)
def test_nothing_of_another_network_or_other_queries(path, value):
    assert beside(changed(path, value)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["data", "database"], source("val")),
        (["data", "database"], {"class_path": "lit_knn.data.TarShards", "init_args": {"urls": "train.tar"}}),
        (["model", "database", "taps", 1, "dimension"], 128),
        (["model", "database", "taps", 1, "pool"], 7),
        (["model", "database", "taps", 1], {"layer": "layer4.2.add", "name": "conv_5_1"}),
    ],
)
def test_of_another_database_or_tap_only_no_defense(path, value):
    assert {weighting for weighting, _ in found(changed(path, value))} == {""}


def test_of_a_part_of_the_database_only_no_defense():
    assert {weighting for weighting, _ in found(imagenet_run(searched=1_270_000))} == {""}


@pytest.mark.parametrize(
    "surrogates", [[classifier("resnet34")], [classifier("resnet18"), classifier("resnet34")], [], None]
)
def test_other_surrogates_are_another_black_box(surrogates):
    assert {s for _, s in found(changed([*BLACK, "surrogates"], surrogates))} == {"clean", "gray box"}


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 20},
        {"step": "l2"},
        {"momentum": 1.0},
        {"diversity": 0.5},
        {"objective": {"class": "my.own.Loss"}},
        {"class": "lit_knn.attacks.apgd.APGD"},
        {"class": "mine.PGD"},
    ],
)
def test_of_another_attack_only_clean_images(change):
    record = dataclasses.replace(imagenet_run(), fingerprints={"attack PGD-sign": PGD | change})
    assert {s for _, s in found(record)} == {"clean"}


@pytest.mark.parametrize("module", ["", "lit_knn.", "lit_knn.data.sources.imagenet."])
def test_classes_of_this_package_are_known_wherever_they_lay(module):
    record = changed(["data", "queries", "class_path"], f"{module}ImageNet")
    part = PGD | {"class": f"{module}PGD", "objective": {"class": f"{module}CrossEntropy"}}
    record = dataclasses.replace(record, fingerprints={"attack PGD-sign": part})
    assert {setting for _, setting in found(record)} == {"clean", "gray box", "black box"}
    mine = changed(["data", "queries", "class_path"], "mine.ImageNet")
    assert not found(mine)


def test_runs_without_a_configuration_have_nothing_beside_them():
    assert beside(make_record()) == []


@pytest.mark.skipif(not PAPER.exists(), reason="needs the paper's text")
def test_the_numbers_are_those_of_the_papers_tables():
    lines = PAPER.read_text().splitlines()

    def printed(start, length):
        rows = [[float(cell) for cell in line.split("\t")[1:] if cell] for line in lines if line.startswith(start)]
        return [row for row in rows if len(row) == length]

    (table1,) = printed("IN-1.3M (conv_5_1)", 9)
    for number, weighting in enumerate(("UW", "CBW-E", "CBW-D")):
        assert list(PUBLISHED["IN-1.3M", weighting, "soft"][1]) == table1[number::3]
    assert [list(PUBLISHED["", "", ""][1])] == printed("No defense", 3)
    assert [list(PUBLISHED["YFCC-100M", "CBW-D", "soft"][1])] == printed("YFCC-100M (conv_5_1)", 3)
    where = PUBLISHED["IN-1.3M", "CBW-D", "soft"][0]
    assert all(f"{cell:.3f}".lstrip("0") in where for cell in printed("IN-1.3M (conv_5_1)", 3)[0])  # of Table 2
