"""The list of what checks found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from lit_knn.report.results import Finding, Verdict

CHECKS_FILE = "checks.json"
MARKS: dict[Verdict, tuple[str, str]] = {
    "pass": ("✓", "green"),
    "warn": ("!", "yellow"),
    "fail": ("✗", "bold red"),
    "skipped": ("–", "dim"),
}


def findings_table(findings: Sequence[Finding], title: str = "Is the evaluation honest?") -> Table:
    """Return one line per finding: a mark, the check, and its sentence."""
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)  # the sentence takes the rest of the line, and more lines if it must
    for finding in findings:
        mark, style = MARKS[finding.verdict]
        table.add_row(Text(mark, style), Text(finding.check, style), Text(finding.sentence))
    return table
