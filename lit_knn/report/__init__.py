"""Records to tables, figures and pictures."""

from .figures.curves import accuracy_curves
from .figures.neighbor_pictures import Picture, PictureRow, neighbor_picture
from .findings import Finding, Verdict, findings_table
from .results.record import Record, Row
from .summary import summary
from .table import accuracy_table

__all__ = [
    "Finding",
    "Picture",
    "PictureRow",
    "Record",
    "Row",
    "Verdict",
    "accuracy_curves",
    "accuracy_table",
    "findings_table",
    "neighbor_picture",
    "summary",
]
