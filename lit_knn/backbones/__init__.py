"""Images to logits and features."""

from .classifier import Classifier
from .ensemble import Ensemble
from .moments import Moments
from .projection import Projection
from .taps import Tap

__all__ = ["Classifier", "Ensemble", "Moments", "Projection", "Tap"]
