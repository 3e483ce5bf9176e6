"""The table at the end of a run."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from lit_knn.errors import UserError
from lit_knn.report.cost import COST_HEAD, COST_TITLE, COSTS, PASSES, cost_rows, mean_passes
from lit_knn.report.headline import Panel, headline
from lit_knn.report.results.budgets import UNITS, size_text
from lit_knn.report.results.record import RESULTS_FILE, Record

WORDS = 3  # columns of costs that hold no numbers


def accuracy_table(record: Record) -> Table:
    """Return accuracies per threat and attack (sections), defense (rows) and Δ (columns), the best of each in bold.

    Below each attack stand the passes that it took, where the record has them.

    Raises:
        UserError: If the record holds no results.
    """
    if not record.results:
        raise UserError(f"the record of run {record.run} holds no results to show")
    shown = headline(record.results)
    rows = shown.rows
    deltas, passes = sorted({row["delta"] for row in rows}), mean_passes(record)
    counts = sorted({min(row["n"] for row in rows), max(row["n"] for row in rows)})
    hidden = [f"{shown.hidden} more variants in {RESULTS_FILE}"] if shown.hidden else []
    notes = [
        (
            f"{'–'.join(f'{n:,}' for n in counts)} {'query' if counts == [1] else 'queries'}; "
            f"95 % intervals within ±{short(shown.half)}"
        ),
        "; ".join([*([shown.shared] if shown.shared else []), *hidden]),
        *([shown.protocol] if shown.protocol else []),
        PASSES if passes else "",
    ]
    table = Table(
        title=f"Top-{shown.topk} accuracy at {UNITS[record.norm].label}",
        caption="\n".join(notes).strip(),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        min_width=max(map(len, notes)),  # or rich would break them at the width of a few columns
    )
    table.add_column("defense")
    for delta in deltas:
        table.add_column(size_text(record.norm, delta), justify="right", no_wrap=True)
    for panel in shown.panels:
        _add_section(table, panel, deltas, passes.get(panel.case))
    return table


def cost_table(record: Record) -> Table:
    """Return what an answer of each defense costs, beside no defense."""
    table = Table(title=COST_TITLE, caption=COSTS, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(COST_HEAD[0], overflow="fold")
    for number, name in enumerate(COST_HEAD[1:], 1):
        table.add_column(name, justify="left" if number < WORDS else "right", no_wrap=True, min_width=len(name))
    for row in cost_rows(record):
        table.add_row(*map(Text, row))
    return table


def _add_section(table: Table, panel: Panel, deltas: list[float], passes: dict[float, str] | None) -> None:
    table.add_row(Text(panel.title, "italic"))
    best = {delta: max(_accuracies(panel, delta), default=0.0) for delta in deltas}
    for line in panel.lines:
        found = {row["delta"]: row["accuracy"] for row in line.rows}
        cells = [
            Text(short(found[delta]), "bold" if found[delta] == best[delta] > 0 else "")
            if delta in found
            else Text("–")
            for delta in deltas
        ]
        table.add_row(Text(f"  {line.label}"), *cells)
    if passes:
        table.add_row("  passes", *(passes.get(delta, "–") for delta in deltas), style="dim")
    table.add_section()


def _accuracies(panel: Panel, delta: float) -> list[float]:
    return [row["accuracy"] for line in panel.lines for row in line.rows if row["delta"] == delta]


def short(share: float) -> str:
    """Return three digits without the leading zero, as the paper's field prints them: .046, 1.000."""
    return f"{share:.3f}".removeprefix("0")


def signed(share: float) -> str:
    """Return three digits with a sign: +.015, −.300; 0 has none."""
    digits = short(abs(share))
    return digits if digits == ".000" else f"{'+' if share > 0 else '−'}{digits}"


def cut(text: str, longest: int) -> str:
    """Return a text that is not longer than so many characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
