"""What a report of several runs says, in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lit_knn.report.attackers import attackers, knows_defense
from lit_knn.report.headline import headline
from lit_knn.report.rendering.document import Block, Figure, Folded, Heading, Links, Paragraph, Table
from lit_knn.report.results.budgets import UNITS, size_text
from lit_knn.report.results.case import WORST_CASE
from lit_knn.report.results.record import Row, variant
from lit_knn.report.results.runs import Run, Runs
from lit_knn.report.section import section
from lit_knn.report.settings import LONGEST, database_sizes, differing
from lit_knn.report.summary import speaking_delta
from lit_knn.report.table import cut, short

COLUMNS = 6  # more settings than this that differ are folded, and listed downwards
WHO = (
    "A gray box attacks the classifier and knows no defense, a black box attacks other networks in its place, and a "
    "white box attacks the defense itself."
)
ABSENT = "–"
WHY_ABSENT = (
    f"{ABSENT}: no result of this attacker alone: not tried, left to the worst case by a cascade, or a white box where "
    "nothing is defended."
)
ATTACKERS = "attackers"  # name of their table


def page(
    runs: Runs,
    deltas: Mapping[str, float],
    paper: Sequence[Block],
    figures: Sequence[Sequence[Figure]],
    sizes: Figure | None,
) -> list[Block]:
    """Return the document.

    Args:
        runs: What it is about.
        deltas: By label of the run, the size of the perturbation that tables speak of.
        paper: What stands beside the paper.
        figures: Those of each finished run, its accuracies first.
        sizes: The figure of accuracy against the size of the database, if they have several.
    """
    norms = dict.fromkeys(run.record.norm for run in runs.finished)
    blocks: list[Block] = [
        Heading(f"Accuracy under attack: {runs.base.name}", 1),
        Paragraph(f"{' or '.join(UNITS[norm].label for norm in norms)} is the size of the perturbation. {WHO}"),
        *_settings(runs.finished),
    ]
    if runs.unfinished:
        names = ", ".join(runs.unfinished)
        blocks.append(
            Paragraph(f"Not finished, and so not shown: {names}. The same lit-knn test goes on.", warning=True)
        )
    blocks.append(Heading("What each attacker leaves"))
    for norm in norms:  # each in a table of its own
        name = ATTACKERS if len(norms) == 1 else f"{ATTACKERS}-{norm.replace('_', '-')}"
        blocks += _attackers([run for run in runs.finished if run.record.norm == norm], deltas, name)
    if sizes:
        blocks += [Heading("Size of the database"), Paragraph(sizes.text), sizes, Links("As files:", sizes.files)]
    blocks += [Heading("Beside the paper"), *paper, Heading("Run by run")]
    for run, drawn in zip(runs.finished, figures, strict=True):
        blocks += section(run, deltas[run.label], drawn)
    return blocks


def speaking(runs: Sequence[Run], given: float | None) -> dict[str, float]:
    """Return the size that tables speak of, by label of the run.

    Args:
        runs: Finished runs.
        given: For all; by default that of the first run in a norm. Of a run without it, they speak of the run's own.
    """
    first: dict[str, float] = {}
    chosen = {}
    for run in runs:
        own = speaking_delta(run.record)
        size = first.setdefault(run.record.norm, own) if given is None else given
        chosen[run.label] = size if any(row["delta"] == size for row in run.record.results) else own
    return chosen


def _settings(runs: Sequence[Run]) -> list[Block]:
    facts, settings = [], []
    for run, different in zip(runs, differing([run.record for run in runs]), strict=True):
        sizes = [f"{size:,}" for size in database_sizes(run.record)]
        searched = " to ".join([sizes[0], sizes[-1]][: len(sizes)]) if sizes else "–"
        facts.append([f"{max(r['n'] for r in run.record.results):,}", searched])
        settings.append([cut(str(value), LONGEST) for value in different.values()])
    labels, head = [run.label for run in runs], ["queries", "database rows"]
    if len(different) <= COLUMNS:
        rows = [[label, *own, *fact] for label, own, fact in zip(labels, settings, facts, strict=True)]
        caption = "Settings are shown where they differ between the runs." if different else ""
        return [Table(["run", *different, *head], rows, 1 + len(different), caption)]
    rows = [[label, *fact] for label, fact in zip(labels, facts, strict=True)]
    down = [list(row) for row in zip(different, *settings, strict=True)]
    everything = Table(["setting", *labels], down, words=1 + len(labels))
    return [
        Table(["run", *head], rows),
        Folded(f"The {len(different)} settings that differ between the runs", [everything]),
    ]


def _attackers(runs: Sequence[Run], deltas: Mapping[str, float], name: str) -> list[Block]:
    """Return accuracies of runs in one norm under each attacker, beside those who know the defense if there are any."""
    found = {run.label: attackers(run.record) for run in runs}
    adaptive = dict.fromkeys(a.title for run in runs for a in found[run.label] if a.adaptive)
    knowing = [run.label for run in runs if knows_defense(run.record)]
    if not adaptive and len(knowing) < len(runs):
        adaptive = {"white box": None}
    unaware = dict.fromkeys(a.title for run in runs for a in found[run.label] if not (a.adaptive or a.worst_case))
    several = any(a.worst_case for run in runs for a in found[run.label])
    titles = [*unaware, *adaptive, *([WORST_CASE.attack] if several else [])]
    rows = []
    unit = UNITS[runs[0].record.norm]  # of all of them
    for run in runs:
        delta = deltas[run.label]
        for number, line in enumerate(headline(run.record.results).panels[0].lines):
            clean = line.rows[0]
            cells = [short(clean["accuracy"]) if clean["delta"] == 0 else ABSENT]
            for title in titles:
                known = next((a for a in found[run.label] if a.title == title), None)
                rows_there = [] if known is None else known.rows
                match = [r for r in rows_there if _same(r, clean) and r["delta"] == delta]
                several_attacks = known is not None and len(known.attacks) > 1
                cells.append(_cell(match[0], several_attacks) if match else ABSENT)
            rows.append(["" if number else run.label, line.label, size_text(run.record.norm, delta), *cells])
    shown = [headline(run.record.results) for run in runs]
    half = max(part.half for part in shown)
    shared = dict.fromkeys(part.shared for part in shown)
    topk = min(row["topk"] for run in runs for row in run.record.results)
    caption = (
        f"{'; '.join(filter(None, shared)) or 'All variants'}. Top-{topk} accuracy; 95 % intervals within "
        f"±{short(half)}. Of an attacker's attacks the strongest alone is named. "
        + (f"{WORST_CASE.attack.capitalize()}: of each image over all attacks of the run." if several else "")
        + next((f" {part.protocol[:1].upper()}{part.protocol[1:]}." for part in shown if part.protocol), "")
    )
    if any(ABSENT in row for row in rows):
        caption = f"{caption.strip()} {WHY_ABSENT}"
    blocks: list[Block] = [
        Table(["run", "defense", unit.symbol, "clean", *titles], rows, 2, caption.strip(), name=name)
    ]
    blocks += [Paragraph(f"{run.label}: {text}.", warning=True) for run in runs for text in run.record.warnings]
    blind = [run.label for run in runs if run.label not in knowing and any(r["tap"] for r in run.record.results)]
    if blind:
        names = "this run" if len(runs) == 1 else "any run here" if len(blind) == len(runs) else ", ".join(blind)
        blocks.append(
            Paragraph(
                f"No attacker of {names} knows the defense: such accuracies are upper bounds of its robustness. "
                "Lay configs/attack/adaptive.yaml over the configuration to measure the rest.",
                warning=True,
            )
        )
    return blocks


def _same(row: Row, other: Row) -> bool:
    return variant(row) == variant(other) and row["topk"] == other["topk"]


def _cell(row: Row, several: bool) -> str:
    return f"{short(row['accuracy'])} {row['attack']}" if several else short(row["accuracy"])
