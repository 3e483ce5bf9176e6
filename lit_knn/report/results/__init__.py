"""What runs have measured, and what the paper has; no PyTorch, and nothing that draws."""

from .case import WORST_CASE, Case
from .finding import Finding, Verdict
from .record import Passes, Record, Row, leading
from .runs import Run, Runs, find_runs
from .variant import PROTOCOLS, REJECTED, UNDEFENDED, Variant, answers_of, preferred

__all__ = [
    "PROTOCOLS",
    "REJECTED",
    "UNDEFENDED",
    "WORST_CASE",
    "Case",
    "Finding",
    "Passes",
    "Record",
    "Row",
    "Run",
    "Runs",
    "Variant",
    "Verdict",
    "answers_of",
    "find_runs",
    "leading",
    "preferred",
]
