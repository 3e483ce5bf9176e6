"""What a doctor has to say, on one screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from lit_knn.errors import UserError
from lit_knn.report.findings import findings_table
from lit_knn.report.results import Finding


def failure(check: str, error: UserError) -> Finding:
    """Return that a check fails, and why: in the words of an error, which do not say once more what is checked."""
    return Finding(check, "fail", str(error).removeprefix(f"{check} "))


def tell(findings: Sequence[Finding]) -> None:
    """Print one line per finding, and end the process with 1 if one says that something will fail.

    Raises:
        SystemExit: With 1.
    """
    if findings:
        Console().print(findings_table(findings, "What is there, and what it will take"))
    if any(finding.verdict == "fail" for finding in findings):
        raise SystemExit(1)
