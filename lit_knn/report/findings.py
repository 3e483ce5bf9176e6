"""The list of what checks found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich.table import Table
from rich.text import Text

CHECKS_FILE = "checks.json"
Verdict = Literal["pass", "warn", "fail", "skipped"]
MARKS: dict[Verdict, tuple[str, str]] = {
    "pass": ("✓", "green"),
    "warn": ("!", "yellow"),
    "fail": ("✗", "bold red"),
    "skipped": ("–", "dim"),
}


class Finding(NamedTuple):
    """What a check has to say.

    Attributes:
        check: Name of the check.
        verdict: ``skipped`` where the run lacks what the check looks at.
        sentence: What was seen and, but for a pass, what to do.
    """

    check: str
    verdict: Verdict
    sentence: str


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return one line per finding: a mark, the check, and its sentence."""
    table = Table(title="Is the evaluation honest?", title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)  # the sentence takes the rest of the line, and more lines if it must
    for finding in findings:
        mark, style = MARKS[finding.verdict]
        table.add_row(Text(mark, style), Text(finding.check, style), Text(finding.sentence))
    return table
