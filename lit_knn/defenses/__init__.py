"""Attacked images to class scores."""

from .base import Defense, Query, Variant
from .knn import KNN
from .none import NoDefense
from .vote import Ballots
from .weighting import CBWD, CBWE, UW, Weighting, stored_weights

__all__ = [
    "CBWD",
    "CBWE",
    "KNN",
    "UW",
    "Ballots",
    "Defense",
    "NoDefense",
    "Query",
    "Variant",
    "Weighting",
    "stored_weights",
]
