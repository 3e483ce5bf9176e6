"""Images to logits and features."""

from .classifier import Classifier
from .ensemble import Ensemble
from .projection import Moments, Projection
from .taps import Tap

__all__ = ["Classifier", "Ensemble", "Moments", "Projection", "Tap"]
