"""Checks that an evaluation is honest."""

from lit_knn.report import Finding

from .base import Check, Evidence, run_checks
from .effort import MoreEffort
from .gradient_masking import GradientMasking
from .monotone import FallsWithDelta
from .noise_floor import NoiseFloor
from .ordering import ThreatOrder
from .planted import Planted
from .reaches_zero import ReachesZero

__all__ = [
    "Check",
    "Evidence",
    "FallsWithDelta",
    "Finding",
    "GradientMasking",
    "MoreEffort",
    "NoiseFloor",
    "Planted",
    "ReachesZero",
    "ThreatOrder",
    "run_checks",
]
