"""Images to logits and features."""

from .classifier import Classifier, set_precision
from .ensemble import Ensemble
from .moments import Moments
from .precision import full_float32, outside_networks, rounded_products, verify_precision
from .projection import Projection
from .taps import Tap

__all__ = [
    "Classifier",
    "Ensemble",
    "Moments",
    "Projection",
    "Tap",
    "full_float32",
    "outside_networks",
    "rounded_products",
    "set_precision",
    "verify_precision",
]
