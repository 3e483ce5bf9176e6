"""Checks that an evaluation is honest."""

from lit_knn.report.results import Finding

from .base import Check, Evidence, run_checks
from .binarization import BinarizationTest
from .effort import MoreEffort
from .gradient_masking import GradientMasking
from .monotone import FallsWithDelta
from .noise_floor import NoiseFloor
from .ordering import ThreatOrder
from .reaches_zero import ReachesZero

__all__ = [
    "BinarizationTest",
    "Check",
    "Evidence",
    "FallsWithDelta",
    "Finding",
    "GradientMasking",
    "MoreEffort",
    "NoiseFloor",
    "ReachesZero",
    "ThreatOrder",
    "run_checks",
]
