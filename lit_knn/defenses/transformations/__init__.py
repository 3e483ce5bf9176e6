"""Defenses that change the image before it is classified."""

from .base import Transformation
from .bit_depth import BitDepth
from .bpda import BPDA
from .transformed_classifier import TransformedClassifier

__all__ = ["BPDA", "BitDepth", "Transformation", "TransformedClassifier"]
