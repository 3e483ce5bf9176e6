import dataclasses
import re
from pathlib import Path

import pytest

from lit_knn.report.page import WHY_ABSENT, page, speaking
from lit_knn.report.rendering.document import Figure, Folded, Heading, Live, Paragraph, Table
from lit_knn.report.results.runs import Run, Runs
from lit_knn.report.table import accuracy_table
from tests.report.conftest import make_record

UNAWARE = [("gray_box", "PGD"), ("gray_box", "APGD"), ("black_box", "PGD")]
AWARE = [*UNAWARE, ("white_box layer1", "PGD-FS"), ("white_box layer1", "Square"), ("all", "worst case")]

PAPER = Paragraph("beside the paper")


def run(label, cases=UNAWARE, config=None, **changes):
    record = make_record(cases, taps=("layer1",), **changes)
    return Run(label, Path(), dataclasses.replace(record, config=config or {}))


def blocks(*runs, delta=0.06, unfinished=(), sizes=None):
    found = Runs(Path("/runs"), list(runs), list(unfinished))
    figures = [[Figure(Path(f"{run.label}.png"), run.label)] for run in runs]
    return page(found, speaking(runs, delta), [PAPER], figures, sizes)


def tables(*runs, **options):
    return [block for block in blocks(*runs, **options) if isinstance(block, Table)]


def warnings(*runs, **options):
    return [block.text for block in blocks(*runs, **options) if isinstance(block, Paragraph) and block.warning]


def test_gray_and_black_box_never_stand_alone():
    attackers = tables(run("a"))[1]
    assert attackers.head == ["run", "defense", "Δ", "clean", "gray box", "black box", "white box"]
    assert attackers.name == "attackers"
    assert [row[-1] for row in attackers.rows] == ["–", "–"]
    assert WHY_ABSENT in attackers.caption
    assert any("No attacker of this run knows the defense" in text for text in warnings(run("a")))


def test_the_worst_case_stands_beside_them():
    attackers = tables(run("a", AWARE))[1]
    assert attackers.head[-4:] == ["gray box", "black box", "white box", "worst case"]
    none, knn = attackers.rows
    assert none[-2:] == ["–", ".027"]
    assert knn[4:] == [".511 PGD", ".511", ".511 PGD-FS", ".511"]  # the first of equal attacks is named
    assert "Worst case: of each image over all attacks" in attackers.caption
    assert warnings(run("a", AWARE)) == []


def test_a_cascade_with_a_white_box_tells_of_all_together():
    cascade = run("b", [("all", "worst case")])
    cascade = cascade._replace(record=dataclasses.replace(cascade.record, fingerprints={"copy of white_box": "1"}))
    alone, beside = tables(cascade)[1], tables(run("a"), cascade, run("c", AWARE))[1]
    assert alone.head[4:] == ["worst case"]
    assert warnings(cascade) == []
    white = beside.head.index("white box")
    assert [row[white] for row in beside.rows] == ["–", "–", "–", "–", "–", ".511 PGD-FS"]
    assert WHY_ABSENT in beside.caption
    assert WHY_ABSENT not in alone.caption  # nothing is absent


def test_runs_in_different_norms_have_tables_of_their_own():
    sizes = (0.0, 4 / 255, 8 / 255)
    three = run("a"), run("b", norm="linf", deltas=sizes), run("c", norm="linf", deltas=sizes[:2])
    _, in_delta, in_linf, *_ = tables(*three, delta=None)
    assert (in_delta.head[2], in_linf.head[2]) == ("Δ", "L∞")
    assert (in_delta.name, in_linf.name) == ("attackers-relative-l2", "attackers-linf")
    assert [[row[0], row[2]] for row in in_delta.rows] == [["a", "0.02"], ["", "0.02"]]
    assert [[row[0], row[2]] for row in in_linf.rows] == [["b", "4/255"], ["", "4/255"], ["c", "4/255"], ["", "4/255"]]
    texts = [block.text for block in blocks(*three, delta=None) if isinstance(block, Paragraph)]
    assert texts[0].startswith("Δ = ‖x*−x‖₂ / ‖x‖₂ or L∞ = ‖x*−x‖∞ is the size of the perturbation.")
    assert any("at L∞ = 4/255 the accuracy is" in text for text in texts)
    _, in_delta, in_linf, *_ = tables(*three, delta=8 / 255)  # which the first and the last do not have
    assert [row[2] for row in (*in_delta.rows[:1], *in_linf.rows[::2])] == ["0.02", "8/255", "4/255"]


def test_runs_with_and_without_attackers_who_know():
    attackers = tables(run("a", AWARE), run("b"))[1]
    assert [row[0] for row in attackers.rows] == ["a", "", "b", ""]
    assert attackers.rows[3][-2:] == ["–", "–"]
    (text,) = warnings(run("a", AWARE), run("b"))
    assert text.startswith("No attacker of b knows")
    assert warnings(run("a"), run("b"))[0].startswith("No attacker of any run here knows")


def test_the_interval_is_that_of_the_rows_that_the_terminal_shows():
    """Neither of variants that are not shown nor of top-5."""
    shown = run("a", AWARE)
    rows = [
        row | {"low": 0.0} if row["topk"] == 5 or row["combination"] == "hard" else row for row in shown.record.results
    ]
    doubtful = Run("a", Path(), dataclasses.replace(shown.record, results=rows))
    (interval,) = re.findall(r"intervals within (±\.\d+)", tables(doubtful)[1].caption)
    assert interval in accuracy_table(doubtful.record).caption
    assert tables(doubtful)[1].caption == tables(shown)[1].caption


def test_what_a_run_warns_of_stands_beside_the_table_and_in_its_section():
    doubtful = run("a", AWARE)
    doubtful.record.warnings.append("3 of 1,000 queries are in the database")
    assert warnings(doubtful, run("b", AWARE)) == [
        "a: 3 of 1,000 queries are in the database.",
        "3 of 1,000 queries are in the database.",
    ]


def test_undefended_networks_need_no_white_box():
    record = make_record(UNAWARE, taps=())
    assert warnings(Run("a", Path(), record)) == []


def test_unfinished_runs_are_named():
    assert warnings(run("a", AWARE), unfinished=["b", "c"]) == [
        "Not finished, and so not shown: b, c. The same lit-knn test goes on."
    ]


def test_a_run_without_the_delta_speaks_of_its_own():
    attackers = tables(run("a", AWARE), run("b", AWARE, deltas=(0.0, 0.1)))[1]
    assert [row[2] for row in attackers.rows] == ["0.06", "0.06", "0.1", "0.1"]


def test_settings_that_differ_are_shown_across_or_folded():
    few = [run(name, config={"seed_everything": seed}) for name, seed in (("a", 0), ("b", 1))]
    assert tables(*few)[0] == Table(
        ["run", "seed_everything", "queries", "database rows"],
        [["a", "0", "1,000", "50,000"], ["b", "1", "1,000", "50,000"]],
        2,
        "Settings are shown where they differ between the runs.",
    )
    many = [
        run(name, config={"model": {f"key{n}": value * 300 for n in range(7)}})
        for name, value in (("a", "x"), ("b", "y"))
    ]
    assert tables(*many)[0].rows == [[name, "1,000", "50,000"] for name in "ab"]
    (fold,) = (block for block in blocks(*many) if isinstance(block, Folded) and "settings" in block.title)
    assert fold.title.startswith("The 7 settings")
    assert fold.blocks[0].head == ["setting", "a", "b"]
    assert fold.blocks[0].rows[0] == ["model.key0", "x" * 239 + "…", "y" * 239 + "…"]


@pytest.mark.parametrize("sizes", [None, Figure(Path("sizes.png"), "sizes")])
def test_order(sizes):
    found = blocks(run("a", AWARE), run("b", AWARE), sizes=sizes)
    headings = [block.text for block in found if isinstance(block, Heading)]
    size = ["Size of the database"] if sizes else []
    assert headings == [
        *("Accuracy under attack: runs", "What each attacker leaves", *size, "Beside the paper", "Run by run", "a", "b")
    ]
    assert found.index(PAPER) == found.index(Heading("Beside the paper")) + 1
    shown = [figure for block in found for figure in (block.still if isinstance(block, Live) else [block])]
    assert [str(f.path) for f in shown if isinstance(f, Figure)] == [
        *(["sizes.png"] if sizes else []),
        "a.png",
        "b.png",
    ]
