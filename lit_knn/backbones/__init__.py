"""Images to logits and features."""

from .classifier import Classifier
from .ensemble import Ensemble
from .features.moments import Moments
from .features.projection import Projection
from .precision import at_least_float32, device_name, full_float32, outside_networks, rounded_products, verify_precision
from .taps import Change, Tap
from .trainer_precision import set_precision
from .weight_files import read_tensors

__all__ = [
    "Change",
    "Classifier",
    "Ensemble",
    "Moments",
    "Projection",
    "Tap",
    "at_least_float32",
    "device_name",
    "full_float32",
    "outside_networks",
    "read_tensors",
    "rounded_products",
    "set_precision",
    "verify_precision",
]
