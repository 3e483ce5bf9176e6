"""Images to logits and features."""

from .classifier import Classifier
from .projection import Moments, Projection
from .taps import Tap

__all__ = ["Classifier", "Moments", "Projection", "Tap"]
