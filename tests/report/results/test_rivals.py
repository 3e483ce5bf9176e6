import copy
import dataclasses
from pathlib import Path

import pytest

from lit_knn.database.patches import PatchDatabase
from lit_knn.defenses import Quilting, RandomCrop, TotalVariation, TransformedClassifier
from lit_knn.report.results.paper import SETTINGS, beside
from lit_knn.report.results.rivals import MEASURED, QUOTED, rivals
from lit_knn.storage.description import describe
from tests.report.results.test_paper import PAPER, imagenet_run

RIVALS = [*MEASURED, *QUOTED]


def record_of(*defenses):
    record = imagenet_run()
    return dataclasses.replace(record, fingerprints=record.fingerprints | {"defenses": list(defenses)})


def described(rival, name):
    return copy.deepcopy(rival.described) | {"name": name}


@pytest.mark.parametrize("rival", MEASURED, ids=lambda rival: rival.name)
def test_a_line_is_known_by_what_it_is(rival):
    found = described(rival, "mine")
    assert rivals(record_of({"class": "NoDefense"}, found)) == {"mine": rival}
    for key, value in [
        ("draws", 7),
        ("combine", "max"),
        ("class", "mine.TransformedClassifier"),
        ("transformation", {}),
    ]:
        assert rivals(record_of(found | {key: value})) == {}
    for key in rival.described["transformation"]:
        other = copy.deepcopy(found)
        other["transformation"][key] = "another"
        assert rivals(record_of(other)) == {}


def test_the_defaults_of_this_package_are_the_papers():
    defenses = [
        TransformedClassifier(transformation=RandomCrop(), draws=30, name="crops"),
        TransformedClassifier(transformation=TotalVariation()),
        TransformedClassifier(transformation=Quilting()),
        TransformedClassifier(transformation=RandomCrop(), draws=10),
        TransformedClassifier(transformation=TotalVariation(weight=0.015)),
        TransformedClassifier(transformation=Quilting(patches=PatchDatabase(count=1000))),
    ]
    found = rivals(record_of(*describe(defenses)))
    assert {name: rival.name for name, rival in found.items()} == {
        "crops": "Crop ensemble",
        "TV": "TV Minimization",
        "quilting": "Image quilting",
    }


@pytest.mark.parametrize("defenses", [None, "[]", [None], [3]])
def test_records_of_any_form_have_none(defenses):
    record = dataclasses.replace(imagenet_run(), fingerprints={"defenses": defenses})
    assert rivals(record) == {}


def test_its_published_accuracies_stand_beside_its_line():
    """The made-up record's undefended line, called after a rival."""
    rival = MEASURED[1]
    record = record_of(described(rival, "TV"))
    record = dataclasses.replace(
        record, results=[row | {"defense": "TV"} if row["defense"] == "none" else row for row in record.results]
    )
    found = {b.setting: b for b in beside(record) if b.variant.defense == "TV"}
    assert {setting: b.published for setting, b in found.items()} == rival.accuracies
    assert all((b.table, b.note, b.measured["defense"]) == ("Table 2", rival.note, "TV") for b in found.values())


def test_what_is_only_quoted_stands_beside_no_line():
    names = [{"class": "OtherClassifier", "name": rival.name} for rival in QUOTED]
    assert rivals(record_of(*names)) == {}
    assert all(rival.note and not rival.described for rival in QUOTED)


@pytest.mark.skipif(not Path(PAPER).exists(), reason="needs the paper's text")
@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_the_numbers_are_those_of_the_papers_table(rival):
    lines = [line.split("\t") for line in PAPER.read_text().splitlines() if line.startswith(f"{rival.name} [")]
    (cells,) = ([cell for cell in line[1:] if cell] for line in lines)
    printed = {setting: float(cell) for setting, cell in zip(SETTINGS, cells, strict=True) if cell != "-"}
    assert printed == rival.accuracies


@pytest.mark.parametrize(("protocol", "shown"), [("mean", True), ("worst", False), ("majority", False)])
def test_of_several_evaluations_the_mean_is_what_papers_report(protocol, shown):
    rival = MEASURED[0]
    record = record_of(described(rival, "crops"))
    more = {"defense": "crops", "protocol": protocol, "evaluations": 5}
    record = dataclasses.replace(record, results=[row | more for row in record.results if row["defense"] == "none"])
    assert bool(beside(record)) == shown
