"""Attacked images to class scores."""

from .base import Defense, Query, Variant
from .knn import KNN
from .none import NoDefense
from .weighting import CBWD, CBWE, UW, Weighting, stored_weights

__all__ = [
    "CBWD",
    "CBWE",
    "KNN",
    "UW",
    "Defense",
    "NoDefense",
    "Query",
    "Variant",
    "Weighting",
    "stored_weights",
]
