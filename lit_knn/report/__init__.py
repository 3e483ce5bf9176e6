"""Records to tables, figures and pictures."""

from .curves import accuracy_curves
from .findings import Finding, Verdict, findings_table
from .neighbours import Picture, PictureRow, neighbour_picture
from .record import Record, Row
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
    "neighbour_picture",
    "summary",
]
