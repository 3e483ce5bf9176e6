"""Attacked images to class scores."""

from lit_knn.report.results import Variant

from .base import Defense, most_needed
from .examination import randomized
from .neighbors.deep_knn import DeepKNN
from .neighbors.fused_knn import FusedKNN
from .neighbors.knn import KNN
from .neighbors.ra_cnn import RACNN
from .neighbors.random_database import RandomDatabase
from .neighbors.weighting import CBWD, CBWE, UW, Similarity, Weighting
from .none import NoDefense
from .other_classifier import OtherClassifier
from .query import Query, Seen
from .rejecting import AcceptedAnswer, Rejecting
from .requirements import Requirements
from .transformations import (
    BPDA,
    JPEG,
    BitDepth,
    GridCrop,
    Quilting,
    RandomCrop,
    TotalVariation,
    Transformation,
    TransformedClassifier,
)

__all__ = [
    "BPDA",
    "CBWD",
    "CBWE",
    "JPEG",
    "KNN",
    "RACNN",
    "UW",
    "AcceptedAnswer",
    "BitDepth",
    "DeepKNN",
    "Defense",
    "FusedKNN",
    "GridCrop",
    "NoDefense",
    "OtherClassifier",
    "Query",
    "Quilting",
    "RandomCrop",
    "RandomDatabase",
    "Rejecting",
    "Requirements",
    "Seen",
    "Similarity",
    "TotalVariation",
    "Transformation",
    "TransformedClassifier",
    "Variant",
    "Weighting",
    "most_needed",
    "randomized",
]
