import pytest

from lit_knn.database.patches import PatchDatabase
from lit_knn.defenses import Quilting, RandomCrop, TotalVariation, TransformedClassifier
from lit_knn.report.results.paper_setting import Fact, is_rival, of_attack, of_rival, of_run, setting_of
from lit_knn.report.results.published import lines
from lit_knn.storage.description import describe
from tests.report.conftest import make_record
from tests.report.results.test_paper import imagenet_run

RIVALS = {line.row: line for line in lines() if line.kind == "rival"}


def test_a_fact_says_what_is_here_and_what_the_paper_has():
    assert str(Fact("step", "l2", "sign")) == "step l2 instead of sign"
    assert Fact("step", "l2", "sign").differs
    assert not Fact("step", "sign", "sign").differs


@pytest.mark.parametrize(
    ("name", "defense", "differs"),
    [
        ("Crop ensemble", TransformedClassifier(transformation=RandomCrop(), draws=30), []),
        ("TV Minimization", TransformedClassifier(transformation=TotalVariation()), []),
        ("Image quilting", TransformedClassifier(transformation=Quilting()), []),
        ("Crop ensemble", TransformedClassifier(transformation=RandomCrop(), draws=10), ["draws 10 instead of 30"]),
        (
            "TV Minimization",
            TransformedClassifier(transformation=TotalVariation(weight=0.015)),
            ["transformation.weight 0.015 instead of 0.03"],
        ),
        (
            "Image quilting",
            TransformedClassifier(transformation=Quilting(patches=PatchDatabase(count=1000))),
            ["transformation.patches.identity.settings.count 1000 instead of 1000000"],
        ),
    ],
)
def test_the_defaults_of_this_package_are_the_papers(name, defense, differs):
    described = describe(defense)
    assert [row for row, line in RIVALS.items() if is_rival(described, line)] == [name]
    assert [str(fact) for fact in of_rival(described, RIVALS[name]) if fact.differs] == differs


def test_a_threat_is_told_by_its_kind_whatever_it_is_called():
    record = imagenet_run()
    rows = {row["threat"]: row for row in record.results if row["delta"]}
    assert {name: setting_of(record, row) for name, row in rows.items()} == {
        "gray_box": "gray box",
        "black_box": "black box",
    }
    record.config["model"]["threats"][1]["init_args"]["name"] = "transfer"
    assert setting_of(record, rows["black_box"] | {"threat": "transfer"}) == "black box"
    record.config["model"]["threats"][0]["class_path"] = "WhiteBox"
    assert setting_of(record, rows["gray_box"] | {"threat": "white_box"}) == ""
    assert setting_of(record, rows["gray_box"] | {"threat": "white_box", "delta": 0.0}) == "clean"


def test_of_a_record_without_anything_nothing_is_the_papers():
    record = make_record()
    assert all(fact.differs for fact in of_run(record))
    facts = {fact.what: fact.here for fact in of_attack(record, record.results[-1], "black box")}
    assert (facts["attack"], facts["surrogate"], facts["size"]) == ("unknown", "one of 0", "Δ = 0.06")
