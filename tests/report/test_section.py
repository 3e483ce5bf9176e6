import dataclasses
import json

import pytest

from lit_knn.errors import UserError
from lit_knn.report.cost import cost_rows
from lit_knn.report.figures.curve_data import curve_data
from lit_knn.report.rendering.document import Figure, Folded, Links, Live, Paragraph, Table
from lit_knn.report.results.inspected import read_inspected
from lit_knn.report.results.runs import Run
from lit_knn.report.section import section
from lit_knn.report.summary import summary
from tests.report.conftest import make_inspected, make_record

CASES = [("gray_box", "PGD"), ("white_box layer1", "PGD-FS"), ("all", "worst case")]
COLUMN = "kNN layer1 K=50 CBW-D soft N=50000"


@pytest.fixture
def run(tmp_path):
    return Run("a/run", tmp_path, make_record(CASES, taps=("layer1",)))


def figures(run, *more):
    path = run.folder / "accuracy.png"
    return [Figure(path, "accuracies", path.with_suffix(".svg")), *more]


def of(run, kind):
    return [block for block in section(run, 0.06, figures(run)) if isinstance(block, kind)]


def folded(run):
    return {block.title: block.blocks for block in of(run, Folded)}


def test_a_folder_with_a_record_only(run):
    assert [block.text for block in of(run, Paragraph)] == summary(run.record).splitlines()
    (curves,) = of(run, Live)
    assert curves.data == curve_data(run.record)
    assert curves.still == figures(run)
    (links,) = of(run, Links)
    assert [path.name for path in links.paths] == ["accuracy.png", "accuracy.svg"]
    assert of(run, Table) == []
    assert list(folded(run)) == ["Every attack at every Δ", "What an answer costs", "Where the numbers come from"]


def test_sizes_in_the_units_of_others(run):
    record = make_record(CASES, taps=("layer1",), deltas=(0.0, 8 / 255), norm="linf")
    inside = section(run._replace(record=record), 8 / 255, figures(run))
    (table,) = next(block.blocks for block in inside if isinstance(block, Folded))
    assert table.head == ["attack", "defense", "L∞ = 0", "L∞ = 8/255"]


def test_other_figures_are_shown_with_what_they_are(run):
    more = Figure(run.folder / "neighbors.svg", "Accuracy against K")
    blocks = section(run, 0.06, figures(run, more))
    place = blocks.index(more)
    assert blocks[place - 1] == Paragraph("Accuracy against K.")
    assert blocks[place + 1].paths[-1] == more.path


def test_every_headline_accuracy_is_in_the_table(run):
    (table,) = folded(run)["Every attack at every Δ"]
    assert table.head == ["attack", "defense", "Δ = 0", "Δ = 0.02", "Δ = 0.06"]
    assert [row[:2] for row in table.rows] == [
        [attack, defense]
        for attack in ("gray box, PGD", "white box layer1, PGD-FS", "all, worst case")
        for defense in ("none", "kNN layer1", "passes")
        if (attack, defense) != ("white box layer1, PGD-FS", "passes")  # the record has none of them
    ]
    assert table.rows[0][2:] == ["1.000", ".301", ".027"]
    assert table.rows[2] == ["gray box, PGD", "passes", "–", "–", "20"]
    assert table.caption.startswith("top-1; K=50, CBW-D, soft; 11 more variants in results.csv; passes: mean of")


def test_a_case_without_a_delta_has_a_dash(run):
    rows = [row for row in run.record.results if row["threat"] == "gray_box" or row["delta"] != 0.02]
    (table,) = folded(run._replace(record=dataclasses.replace(run.record, results=rows)))["Every attack at every Δ"]
    assert table.rows[3][2:4] == [table.rows[0][2], "–"]


def test_findings(run):
    path = run.folder / "checks.json"
    path.write_text(json.dumps([{"check": "reaches zero", "verdict": "warn", "sentence": "It <does> not."}]))
    (table,) = of(run, Table)
    assert table.rows == [["! warn", "reaches zero", "It <does> not."]]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[3]",
        "5",
        '[{"check": 1, "verdict": "pass", "sentence": "b"}]',
        '[{"check": "a"}]',
        '[{"check": "a", "verdict": "?", "sentence": "b"}]',
    ],
)
def test_damaged_findings(run, text):
    (run.folder / "checks.json").write_text(text)
    with pytest.raises(UserError, match=r"checks.json is damaged .*; remove it or run the checks again"):
        of(run, Table)


def test_what_broke_the_images(run):
    rows = ["1,0.06,clean,white_box layer1: PGD-FS", "2,0.06,gray_box: PGD,white_box layer1: PGD-FS"]
    rows += ["3,0.06,gray_box: PGD,", "4,0.02,,clean"]
    other = "kNN layer1 K=10 UW soft N=50000"  # hidden in the headline
    lines = [f"id,delta,none,{COLUMN},{other}", *(f"{row},clean" for row in rows)]
    (run.folder / "broken_by.csv").write_text("\n".join(lines) + "\n")
    (table,) = folded(run)["Which attack broke the images first, at Δ = 0.06"]
    assert table.head == ["broken by", "none", "kNN layer1"]
    assert table.rows == [
        ["wrong without any attack", "1", "0"],
        ["gray box: PGD", "2", "0"],
        ["white box layer1: PGD-FS", "0", "2"],
        ["not broken", "0", "1"],
    ]


def test_pictures_of_neighbors(run):
    for tap in ("late", "early"):
        (run.folder / f"neighbors-{tap}.png").touch()
    blocks = folded(run)["Nearest neighbors, clean and attacked"]
    assert [(block.path.name, block.text.rpartition(" ")[2]) for block in blocks] == [
        ("neighbors-early.png", "early"),
        ("neighbors-late.png", "late"),
    ]


def test_origin(run):
    (table,) = folded(run)["Where the numbers come from"]
    facts = dict(table.rows)
    assert facts["git"] == "unknown"
    assert facts["database rows searched"] == "50,000"
    assert facts["database rows skipped"] == "1"
    assert facts["fingerprint of classifier"] == "resnet-0123"
    assert facts["seconds"] == "attack 1.5"


def test_costs_are_those_of_the_record(run):
    (table,) = folded(run)["What an answer costs"]
    assert table.rows == cost_rows(run.record)
    assert "measured on 100 clean images at a time" in table.caption
    old = run._replace(record=dataclasses.replace(run.record, costs=[]))
    assert "What an answer costs" not in folded(old)


def test_the_inspector_takes_the_place_of_the_pictures(run):
    (run.folder / "neighbors-early.png").write_bytes(b"")
    (still,) = folded(run)["Nearest neighbors, clean and attacked"]
    make_inspected(run)
    (live,) = folded(run)["Nearest neighbors, clean and attacked"]
    found = read_inspected(run)
    assert live == Live("neighbors", found.data, [still], found.sheets)
