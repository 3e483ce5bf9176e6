"""The paper's numbers beside the measured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lit_knn.report.paper_layout import paper_tables
from lit_knn.report.rendering.document import Block, Folded, Paragraph, Table
from lit_knn.report.results.paper import Beside, beside
from lit_knn.report.results.published import Line, disagreement, figures, place
from lit_knn.report.results.record import variant
from lit_knn.report.results.runs import Run
from lit_knn.report.results.unmeasured import unmeasured
from lit_knn.report.table import short, signed

HEAD = ["run", "defense", "attacker", "printed in", "differs in", "paper", "measured (95 %)", "difference", "queries"]
NO_NUMBERS = "of which the paper prints no numbers, so that none stands beside it: see its curves"
NO_PLACE = (
    "No run says where in the paper its numbers would stand, as paper: {table: '2', row: IN-1.3M} in its "
    "configuration does, so none of the paper's numbers is shown."
)
CAPTION = (
    "Dubey et al. 2019: PGD at Δ = 0.06, K = 50. Here Δ is a hard cap for each image in pixel space; the code that the "
    "paper used measures it in normalized space, and on average."
)


def paper_comparison(runs: Sequence[Run], deltas: Mapping[str, float]) -> list[Block]:
    """Return the paper's numbers beside those of runs that name their place in it, and what is not the same.

    Args:
        runs: Finished runs.
        deltas: By label, the size that stands for the paper's where the run was not measured at that.

    Raises:
        UserError: If a run names a place that the paper does not have.
    """
    places = {run.label: place(run.record.config.get("paper")) for run in runs}
    found = {run.label: beside(run.record, deltas[run.label]) for run in runs}
    named = [where for where in places.values() if where is not None]
    if not named:
        return [Paragraph(NO_PLACE)]
    blocks: list[Block] = [
        Paragraph(f"{label} is {where}, {figures()[where.figure].shows}, {NO_NUMBERS}.")
        for label, where in places.items()
        if where is not None and where.figure
    ]
    rows = []
    for label, measured in found.items():
        if not measured:
            continue
        usual = _shared(measured)
        by_setting = {one.setting: _shared([o for o in measured if o.setting == one.setting]) for one in measured}
        said = [*usual]
        for setting, texts in by_setting.items():
            own = [text for text in texts if text not in usual]
            said += [f"{setting}: {', '.join(own)}"] if own else []
        if said:
            blocks.append(Paragraph(f"{label} is {places[label]}, but for this: {'; '.join(said)}.", warning=True))
        rows += [_row(label, one, [x for x in one.differs if x not in by_setting[one.setting]]) for one in measured]
    blocks += paper_tables(found)
    if rows:
        blocks.append(Folded("Number by number: intervals, and what else differs", [Table(HEAD, rows, 5, CAPTION)]))
    if missing := unmeasured(named, [one for measured in found.values() for one in measured]):
        blocks.append(Paragraph(f"Of the paper, no run here has measured {'; '.join(missing)}."))
    return blocks


def _shared(found: Sequence[Beside]) -> list[str]:
    """Return what all of them differ in."""
    return [text for text in found[0].differs if all(text in one.differs for one in found)]


def _row(label: str, one: Beside, differs: Sequence[str]) -> list[str]:
    line, row = one.line, one.measured
    name = f"{line.row}, {variant(row)._replace(rows='')}" if line.kind == "retrieval" else line.row
    return [
        *(label, name, one.setting, _printed(line, one.setting), "; ".join(filter(None, [line.note, *differs])) or "–"),
        *(short(one.published), f"{short(row['accuracy'])} ({short(row['low'])}–{short(row['high'])})"),
        *(signed(one.difference), f"{row['n']:,}"),
    ]


def _printed(line: Line, setting: str) -> str:
    return "; ".join(filter(None, [f"Table {line.table}", disagreement(line, setting)]))
