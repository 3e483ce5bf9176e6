"""Attacked images to class scores."""

from .base import Defense, Query, Seen, Variant, most_needed
from .bpda import BPDA
from .examination import randomized
from .knn import KNN
from .none import NoDefense
from .transformed import BitDepth, Transformed
from .weighting import CBWD, CBWE, UW, Weighting, stored_weights

__all__ = [
    "BPDA",
    "CBWD",
    "CBWE",
    "KNN",
    "UW",
    "BitDepth",
    "Defense",
    "NoDefense",
    "Query",
    "Seen",
    "Transformed",
    "Variant",
    "Weighting",
    "most_needed",
    "randomized",
    "stored_weights",
]
