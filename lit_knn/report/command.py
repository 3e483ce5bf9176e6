"""``lit-knn report RUNS...``: no configuration, no PyTorch, records only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lit_knn.errors import UserError
from lit_knn.report.arguments import Arguments
from lit_knn.report.combined import write_combined
from lit_knn.report.drawing import run_figures, sizes_figure
from lit_knn.report.page import page, speaking
from lit_knn.report.paper_table import paper_comparison
from lit_knn.report.rendering.comma_separated import comma_separated
from lit_knn.report.rendering.document import Links, Paragraph, Table, named_tables
from lit_knn.report.rendering.latex import latex
from lit_knn.report.rendering.markdown import markdown
from lit_knn.report.rendering.terminal import show
from lit_knn.report.rendering.web_page import web_page
from lit_knn.report.results.budgets import parse_size, sized
from lit_knn.report.results.record import RESULTS_FILE
from lit_knn.report.results.runs import PAGE_FILE, Run, find_runs
from lit_knn.storage.atomic import write_text, writing

MANY = 10  # runs whose figures are drawn with care, which takes nearly a second each
TEXT, LATEX, TABLES = "report.md", "report.tex", "tables"


def report(arguments: Sequence[str]) -> None:
    """Write tables, figures and one web page about runs: equal runs, equal bytes.

    Args:
        arguments: Of the command line, after ``report``.

    Raises:
        UserError: If there is nothing to report, or a record cannot be read.
    """
    parser = Arguments("report", "Records to tables, figures and one web page.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="run folders, folders of them, or records")
    parser.add_argument("--output", type=Path, help="folder to write into; by default report/ beside the runs")
    parser.add_argument("--delta", help="size in tables, 0.06 or 8/255; by default where the undefended network breaks")
    given = parser.parse_args(arguments)
    delta = None if given.delta is None else parse_size(given.delta, "report: --delta")
    runs = find_runs(given.runs)
    output: Path = given.output or runs.base / "report"
    _check(runs.finished, delta)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    names, many = _file_names([run.label for run in runs.finished]), len(runs.finished) > MANY
    figures = [run_figures(run, output, name, many=many) for run, name in zip(runs.finished, names, strict=True)]
    deltas = speaking(runs.finished, delta)
    paper = paper_comparison(runs.finished, deltas)
    blocks = page(runs, deltas, paper, figures, sizes_figure(runs.finished, output))
    tables = [*named_tables(blocks)]
    files = {output / TABLES / f"{table.name}.csv": comma_separated(table) for table in tables}
    files[output / LATEX] = latex(tables)
    write_combined(runs.finished, output / RESULTS_FILE)
    blocks.append(Links("The same for other programs:", [output / RESULTS_FILE, *files]))
    files |= {output / TEXT: markdown(blocks, output), output / PAGE_FILE: web_page(blocks, output)}
    for path, text in files.items():
        write_text(path, text)
    if printed := [block for block in paper if isinstance(block, Table)]:
        show([*printed, *(block for block in paper[-1:] if isinstance(block, Paragraph))], Console())
    count = f"{len(runs.finished)} finished" + (f", {len(runs.unfinished)} unfinished" if runs.unfinished else "")
    print(
        f"Runs: {count}. Report, text, tables and figures: {output / PAGE_FILE}, {TEXT}, {LATEX}, {RESULTS_FILE}, "
        f"{TABLES}/*.csv, {'' if many else '*.png, '}*.svg"
    )


def _check(runs: Sequence[Run], delta: float | None) -> None:
    """Refuse a size that no run has."""
    known = sorted({(row["norm"], row["delta"]) for run in runs for row in run.record.results})
    if delta is not None and delta not in {size for _, size in known}:
        raise UserError(f"no run was measured at {delta:g}; there are {', '.join(sized(*size) for size in known)}")


def _file_names(labels: Sequence[str]) -> list[str]:
    """Return a name for each label that any file system takes, no two alike even where capitals do not count."""
    names: dict[str, None] = {}
    for label in labels:
        name = re.sub(r"[^\w.-]+", "-", label, flags=re.ASCII)
        taken = {other.lower() for other in names}
        number = next(n for n in range(1, len(taken) + 2) if (f"{name}-{n}" if n > 1 else name).lower() not in taken)
        names[f"{name}-{number}" if number > 1 else name] = None
    return list(names)
