"""Defenses that change the image before it is classified."""

from .base import Transformation, TransformedClassifier
from .bit_depth import BitDepth
from .bpda import BPDA

__all__ = ["BPDA", "BitDepth", "Transformation", "TransformedClassifier"]
