"""Accuracy under attack, exact over any number of processes."""

from .audit import AuditError, SampleAudit
from .functional import hits, wilson
from .robust_accuracy import RobustAccuracy

__all__ = ["AuditError", "RobustAccuracy", "SampleAudit", "hits", "wilson"]
