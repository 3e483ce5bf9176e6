"""Accuracy under attack, exact over any number of processes."""

from .audit import AuditError, SampleAudit
from .clean import CleanCounts, CleanQueries, cautions
from .flat import FlatGradients
from .functional import hits
from .passes import NetworkPasses
from .protocol import by_line
from .robust_accuracy import RobustAccuracy
from .tally import Tally

__all__ = [
    "AuditError",
    "CleanCounts",
    "CleanQueries",
    "FlatGradients",
    "NetworkPasses",
    "RobustAccuracy",
    "SampleAudit",
    "Tally",
    "by_line",
    "cautions",
    "hits",
]
