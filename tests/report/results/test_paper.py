import copy
import dataclasses

import pytest

from lit_knn.errors import UserError
from lit_knn.report.results.paper import beside
from lit_knn.report.results.published import lines
from tests.report.conftest import make_record

PGD = {"class": "lit_knn.attacks.pgd.PGD", "steps": 10, "step": "sign"}
PGD |= {"objective": {"class": "lit_knn.attacks.objectives.classifier.CrossEntropy"}}
BLACK = ["model", "threats", 1, "init_args"]


def classifier(name):
    return {"network": f"torchvision/{name}", "arguments": {"weights": "IMAGENET1K_V1"}, "weights": None, "name": ""}


def source(split):
    return {"class_path": "lit_knn.data.ImageNet", "init_args": {"root": "data", "split": split, "shard_size": 10_000}}


def imagenet_run(table="1", row="IN-1.3M", searched=1_281_167):
    """A run of configs/imagenet.yaml, as its record would have it, with made-up accuracies."""
    config = {
        "paper": {"table": table, "row": row},
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


def changed(path, value, **place):
    record = imagenet_run(**place)
    config = copy.deepcopy(record.config)
    part = config
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return dataclasses.replace(record, config=config)


def with_attack(**change):
    record = imagenet_run()
    return dataclasses.replace(record, fingerprints={"attack PGD-sign": PGD | change})


def found(record):
    return {(b.line.weighting, b.line.combination, b.setting): b for b in beside(record, 0.02)}


SETTINGS = ("clean", "gray box", "black box")
WEIGHTINGS = ("UW", "CBW-E", "CBW-D")


def test_a_run_in_the_setting_of_the_paper_differs_in_nothing():
    published = found(imagenet_run())
    assert set(published) == {(weighting, "soft", s) for weighting in WEIGHTINGS for s in SETTINGS}
    assert [published["UW", "soft", s].published for s in SETTINGS] == [0.472, 0.285, 0.311]
    for (weighting, combination, setting), b in published.items():
        row = b.measured
        assert b.differs == []
        assert (row["topk"], row["delta"]) == (1, 0 if setting == "clean" else 0.06)
        assert setting == "clean" or (row["attack"], row["threat"]) == ("PGD-sign", setting.replace(" ", "_"))
        assert (row["tap"], row["k"]) == ("conv_5_1", 50)
        assert (row["weighting"], row["combination"]) == (weighting, combination)


def test_each_table_has_its_lines():
    four = found(imagenet_run("4"))
    assert set(four) == {(w, c, s) for w in WEIGHTINGS for c in ("soft", "hard") for s in SETTINGS}
    assert four["CBW-D", "hard", "gray box"].published == 0.293
    two = found(imagenet_run("2"))
    assert {key[:2] for key in two} == {("", ""), ("CBW-D", "soft")}
    assert [two["", "", s].published for s in SETTINGS] == [0.761, 0.038, 0.046]
    assert [two["CBW-D", "soft", s].published for s in SETTINGS] == [0.462, 0.235, 0.292]
    alone = found(imagenet_run("2", "Crop ensemble"))
    assert {key[:2] for key in alone} == {("", "")}


@pytest.mark.parametrize("place", [None, {"figure": "5", "panel": "gray"}])
def test_nothing_stands_beside_a_run_that_names_no_table(place):
    assert beside(changed(["paper"], place), 0.06) == []
    assert beside(make_record(), 0.06) == []


def test_a_place_that_the_paper_does_not_have_is_refused():
    with pytest.raises(UserError, match=r"paper.row is 'YFCC'; accepted are IG-50B-All, IG-1B-Targeted, IN-1.3M"):
        beside(imagenet_run(row="YFCC"), 0.06)


QUERIES = ["data", "queries"]
DATABASE = ["data", "database"]
TAPS = ["model", "database", "taps"]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            ["model", "classifier", "network"],
            "torchvision/resnet101",
            "network torchvision/resnet101 instead of torchvision/resnet50",
        ),
        (
            ["model", "classifier", "arguments"],
            {"weights": "IMAGENET1K_V2"},
            "network's weights IMAGENET1K_V2 instead of IMAGENET1K_V1",
        ),
        (["model", "classifier", "weights"], "mine.pth", "network's weights mine.pth instead of IMAGENET1K_V1"),
        (QUERIES, source("train"), "queries ImageNet train instead of ImageNet val"),
        (QUERIES, {"class_path": "CIFAR10"}, "queries CIFAR10 instead of ImageNet val"),
        (DATABASE, source("val"), "database ImageNet val instead of ImageNet train"),
        (
            DATABASE,
            {"class_path": "Cut", "init_args": {"inner": source("train")}},
            "database ImageNet train in Cut instead of ImageNet train",
        ),
        (DATABASE, None, "database unknown instead of ImageNet train"),
        ([*TAPS, 1, "dimension"], 128, "dimension 128 instead of 256"),
        ([*TAPS, 1, "pool"], 7, "pool 7 instead of 1"),
        ([*TAPS, 1, "bits"], True, "features bits instead of floats"),
    ],
)
def test_what_is_not_the_papers_is_told_of_each_clean_number(path, value, sentence):
    for weighting in WEIGHTINGS:
        assert found(changed(path, value))[weighting, "soft", "clean"].differs == [sentence]


def test_another_layer_of_the_same_name_is_another_tap():
    record = changed([*TAPS, 1], {"layer": "layer4.2.add", "name": "conv_5_1"})
    differs = {tuple(b.differs) for b in beside(record, 0.06)}
    assert differs == {("tap layer4.2.add instead of conv_5_1",), ("tap conv_4_6 instead of conv_5_1",)}


def test_of_a_part_of_the_database_the_number_is_told():
    assert {tuple(b.differs) for b in beside(imagenet_run(searched=1_270_000), 0.06)} == {
        ("database rows 1,270,000 instead of all",)
    }


def test_beside_a_database_that_is_not_public_another_one_is_told():
    differs = {text for b in beside(imagenet_run(row="IG-1B-Targeted"), 0.06) for text in b.differs}
    assert differs == {"database ImageNet train instead of IG-1B-Targeted", "database rows 1,281,167 instead of all"}
    bits = {text for b in beside(imagenet_run(row="IG-50B-All"), 0.06) for text in b.differs}
    rmac = {"tap conv_5_1 instead of conv_5_1-RMAC", "pool 1 instead of rmac", "features floats instead of bits"}
    assert rmac < bits


@pytest.mark.parametrize(
    ("surrogates", "text"),
    [
        ([classifier("resnet34")], "surrogate torchvision/resnet34 instead of torchvision/resnet18"),
        ([classifier("resnet18"), classifier("resnet34")], "surrogate one of 2 instead of torchvision/resnet18"),
        (None, "surrogate one of 0 instead of torchvision/resnet18"),
    ],
)
def test_other_surrogates_are_another_black_box(surrogates, text):
    published = found(changed([*BLACK, "surrogates"], surrogates))
    assert published["UW", "soft", "black box"].differs[0] == text
    assert published["UW", "soft", "gray box"].differs == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 20}, "steps 20 instead of 10"),
        ({"step": "l2"}, "step l2 instead of sign"),
        ({"step": None}, "step of the norm instead of sign"),
        ({"momentum": 1.0}, "momentum 1 instead of 0"),
        ({"diversity": 0.5}, "input diversity 0.5 instead of 0"),
        ({"objective": {"class": "my.own.Loss"}}, "objective my.own.Loss instead of CrossEntropy"),
        ({"class": "lit_knn.attacks.apgd.APGD"}, "attack APGD instead of PGD"),
        ({"class": "mine.PGD"}, "attack mine.PGD instead of PGD"),
    ],
)
def test_of_another_attack_it_is_told_and_clean_images_are_the_papers(change, sentence):
    published = found(with_attack(**change))
    assert published["UW", "soft", "gray box"].differs == [sentence]
    assert published["UW", "soft", "clean"].differs == []


def test_another_size_stands_where_the_papers_was_not_measured():
    record = imagenet_run()
    record = dataclasses.replace(record, results=[row for row in record.results if row["delta"] != 0.06])
    gray = found(record)["UW", "soft", "gray box"]
    assert gray.measured["delta"] == 0.02
    assert gray.differs == ["size Δ = 0.02 instead of Δ = 0.06"]
    in_linf = dataclasses.replace(imagenet_run(), results=[row | {"norm": "linf"} for row in imagenet_run().results])
    gray = found(in_linf)["UW", "soft", "gray box"]
    assert gray.differs == ["size L∞ = 0.02 instead of Δ = 0.06"]


def test_without_the_papers_tap_every_other_one_stands_there():
    record = imagenet_run()
    rows = [row for row in record.results if row["tap"] != "conv_5_1"]
    more = [row | {"tap": "conv_3_4"} for row in rows if row["tap"]]
    both = beside(dataclasses.replace(record, results=[*rows, *more]), 0.06)
    assert {b.measured["tap"] for b in both} == {"conv_4_6", "conv_3_4"}
    assert len(both) == 2 * 9


@pytest.mark.parametrize("module", ["", "lit_knn.", "lit_knn.data.sources.imagenet."])
def test_classes_of_this_package_are_known_wherever_they_lay(module):
    record = changed([*QUERIES, "class_path"], f"{module}ImageNet")
    part = PGD | {"class": f"{module}PGD", "objective": {"class": f"{module}CrossEntropy"}}
    record = dataclasses.replace(record, fingerprints={"attack PGD-sign": part})
    assert {tuple(b.differs) for b in beside(record, 0.06)} == {()}
    mine = beside(changed([*QUERIES, "class_path"], "mine.ImageNet"), 0.06)
    assert mine[0].differs == ["queries mine.ImageNet val instead of ImageNet val"]


def rival(name):
    """Return the line of Table 2."""
    return next(line for line in lines() if line.row == name)


def with_rival(name, of="Crop ensemble", protocol="", **change):
    """Return a run whose undefended line is also that of a rival, and described as one."""
    described = copy.deepcopy(rival(of).described) | {"name": name} | change
    record = imagenet_run("2")
    more = {"defense": name, "protocol": protocol, "evaluations": 5 if protocol else ""}
    rows = [row | more for row in record.results if row["defense"] == "none"]
    fingerprints = record.fingerprints | {"defenses": [{"class": "NoDefense"}, described]}
    return dataclasses.replace(record, results=[*record.results, *rows], fingerprints=fingerprints)


def of_rivals(record):
    return {(b.line.row, b.setting): b for b in beside(record, 0.06) if b.line.kind == "rival"}


@pytest.mark.parametrize("name", ["Crop ensemble", "TV Minimization", "Image quilting"])
def test_a_rival_is_known_by_what_it_is(name):
    published = of_rivals(with_rival("mine", name))
    assert {setting: b.published for (_, setting), b in published.items()} == rival(name).accuracies
    assert {(b.line.row, b.measured["defense"], tuple(b.differs)) for b in published.values()} == {(name, "mine", ())}
    assert of_rivals(with_rival("mine", name, **{"class": "mine.TransformedClassifier"})) == {}
    assert of_rivals(with_rival("mine", name, transformation={})) == {}


def test_of_a_rival_with_other_settings_they_are_told():
    ten = of_rivals(with_rival("crops", draws=10))["Crop ensemble", "clean"]
    assert ten.differs == ["draws 10 instead of 30"]
    weak = {"class": "TotalVariation", "weight": 0.015, "keep": 0.5, "per_channel": True, "isotropic": True}
    tv = of_rivals(with_rival("tv", "TV Minimization", transformation=weak))["TV Minimization", "clean"]
    assert tv.differs == ["transformation.weight 0.015 instead of 0.03"]


@pytest.mark.parametrize(("protocol", "shown"), [("mean", True), ("worst", False), ("majority", False)])
def test_of_several_evaluations_the_mean_is_what_papers_report(protocol, shown):
    assert bool(of_rivals(with_rival("crops", protocol=protocol))) == shown


@pytest.mark.parametrize("defenses", [None, "[]", [None], [3]])
def test_records_of_any_form_have_no_rival(defenses):
    assert of_rivals(dataclasses.replace(with_rival("crops"), fingerprints={"defenses": defenses})) == {}


def test_what_is_quoted_from_elsewhere_stands_beside_no_run():
    assert "quoted" not in {b.line.kind for b in beside(with_rival("ALP"), 0.06)}
