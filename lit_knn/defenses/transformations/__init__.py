"""Defenses that change the image before it is classified."""

from .base import Transformation
from .bit_depth import BitDepth
from .bpda import BPDA
from .crops import GridCrop, RandomCrop
from .jpeg import JPEG
from .quilting import Quilting
from .total_variation import TotalVariation
from .transformed_classifier import TransformedClassifier

__all__ = [
    "BPDA",
    "JPEG",
    "BitDepth",
    "GridCrop",
    "Quilting",
    "RandomCrop",
    "TotalVariation",
    "Transformation",
    "TransformedClassifier",
]
