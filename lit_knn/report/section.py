"""What a report says about one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lit_knn.report.cost import COST_HEAD, COST_TITLE, COSTS, PASSES, cost_rows, mean_passes
from lit_knn.report.figures.curve_data import curve_data
from lit_knn.report.findings import CHECKS_FILE, MARKS, Finding
from lit_knn.report.headline import headline
from lit_knn.report.rejection import rejection_table
from lit_knn.report.rendering.document import Block, Figure, Folded, Heading, Links, Live, Paragraph, Table
from lit_knn.report.results.breaks import BREAKS_FILE, read_breaks
from lit_knn.report.results.budgets import UNITS, sized
from lit_knn.report.results.inspected import read_inspected
from lit_knn.report.results.record import Record, variant
from lit_knn.report.results.runs import Run
from lit_knn.report.settings import database_sizes
from lit_knn.report.summary import summary
from lit_knn.report.table import WORDS, short
from lit_knn.storage.reading import load_json, undamaged


def section(run: Run, delta: float, figures: Sequence[Figure]) -> list[Block]:
    """Return figure and sentences, and folded all attacks, what broke the images, pictures and origin.

    Args:
        run: A finished run.
        delta: Size of the perturbation to say what broke the images of.
        figures: Those of the run, its accuracies first.
    """
    norm = run.record.norm
    symbol = UNITS[norm].symbol
    still, *others = figures
    blocks: list[Block] = [Heading(run.label, 3), Live("curves", curve_data(run.record), [still])]
    blocks += [Paragraph(sentence) for sentence in summary(run.record).splitlines()]
    blocks += [Paragraph(f"{sentence[:1].upper()}{sentence[1:]}.", warning=True) for sentence in run.record.warnings]
    if rejections := rejection_table(run.record, delta):
        blocks.append(rejections)
    for figure in others:
        blocks += [Paragraph(f"{figure.text}."), figure]
    blocks.append(Links("Figures as files:", [path for figure in figures for path in figure.files]))
    blocks += _findings(run.folder / CHECKS_FILE)
    blocks.append(Folded(f"Every attack at every {symbol}", [every_attack(run.record)]))
    if rows := cost_rows(run.record):
        caption = f"{COSTS}; measured on {run.record.costs[0]['images']} clean images at a time"
        blocks.append(Folded(COST_TITLE, [Table(COST_HEAD, rows, WORDS, caption)]))
    if (run.folder / BREAKS_FILE).exists():
        blocks.append(Folded(f"Which attack broke the images first, at {sized(norm, delta)}", [_breaks(run, delta)]))
    pictures = sorted(path for path in run.folder.glob("neighbors-*.png") if path.is_file())
    shown: list[Block] = [
        Figure(path, f"Queries and their neighbors, {path.stem.partition('-')[2]}") for path in pictures
    ]
    if inspected := read_inspected(run):
        shown = [Live("neighbors", inspected.data, shown, inspected.sheets)]
    if shown:
        blocks.append(Folded("Nearest neighbors, clean and attacked", shown))
    return [*blocks, Folded("Where the numbers come from", [_origin(run.record)])]


def _findings(path: Path) -> list[Block]:
    """Return what the checks of the run found, if they were asked.

    Raises:
        UserError: If their file is damaged.
    """
    if not path.exists():
        return []
    with undamaged(path, "remove it or run the checks again"):
        found = load_json(path, "remove it or run the checks again", [dict.fromkeys(Finding._fields, str)])
        if unknown := {one["verdict"] for one in found} - set(MARKS):
            raise ValueError(f"a verdict is {min(unknown)!r}")
        findings = [Finding(**one) for one in found]
    rows = [[f"{MARKS[one.verdict][0]} {one.verdict}", one.check, one.sentence] for one in findings]
    return [Table(["Is the evaluation honest?", "check", "what was seen"], rows, words=3)]


def every_attack(record: Record) -> Table:
    """Return the accuracy of each headline variant under each threat and attack (rows) at each Δ (columns).

    Args:
        record: Of a run with results.
    """
    shown = headline(record.results)
    deltas, passes = sorted({row["delta"] for row in record.results}), mean_passes(record)
    rows = []
    for panel in shown.panels:
        for line in panel.lines:
            found = {row["delta"]: short(row["accuracy"]) for row in line.rows}
            rows.append([panel.title, line.label, *(found.get(delta, "–") for delta in deltas)])
        if panel.case in passes:
            rows.append([panel.title, "passes", *(passes[panel.case].get(delta, "–") for delta in deltas)])
    hidden = f"{shown.hidden} more variants in results.csv" if shown.hidden else ""
    notes = [f"top-{shown.topk}", shown.shared, hidden, shown.protocol, PASSES if passes else ""]
    caption = "; ".join(filter(None, notes))
    return Table(["attack", "defense", *(sized(record.norm, delta) for delta in deltas)], rows, 2, caption)


def _breaks(run: Run, delta: float) -> Table:
    counts = read_breaks(run.folder / BREAKS_FILE, delta)
    panel = headline(run.record.results).worst
    labels = {str(variant(line.rows[0])): line.label for line in panel.lines}
    columns = [column for column in counts if column in labels]
    names = {"": "not broken", "clean": "wrong without any attack"}
    cells = list(dict.fromkeys(["clean", *(row for column in columns for row in counts[column]), ""]))
    cells.sort(key=lambda cell: (cell == "", cell != "clean"))  # stable: attacks stay in their order
    rows = [[names.get(cell, cell.replace("_", " ")), *(str(counts[c][cell]) for c in columns)] for cell in cells]
    caption = (
        f"Images, by the first attack, in the order of the run, that broke the defense; each image is in {BREAKS_FILE}."
    )
    return Table(["broken by", *(labels[column] for column in columns)], rows, 1, caption)


def _origin(record: Record) -> Table:
    fingerprints = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in record.fingerprints.items()
    }
    facts = {
        "run": record.run,
        "finished": record.created,
        "seed": str(record.seed),
        "git": record.git or "unknown",
        "seconds": ", ".join(f"{phase} {seconds:g}" for phase, seconds in record.seconds.items()),
        "queries": ", ".join(
            f"{key} {len(value) if isinstance(value, list) else value}" for key, value in record.queries.items()
        ),
        "database rows searched": ", ".join(f"{size:,}" for size in database_sizes(record)) or "none",
        "database rows skipped": str(len(record.database.get("skipped", []))),
        **{f"fingerprint of {name}": text for name, text in fingerprints.items() if len(text) < 100},
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }
    return Table(["what", "value"], [[name, value] for name, value in facts.items()], words=2)
