"""Objectives: what an attacker maximizes."""

from .ask import ASK
from .base import Bound, Objective, Score, with_gradient
from .centroid import TargetCentroid
from .classifier import CrossEntropy, Margin, ProbabilityMargin, margin
from .defense import DefenseMargin, StandIn
from .dlr import TargetedDLR
from .eot import EOT, expected
from .feature_space import FeatureSpace
from .guided import GuidedNeighbors
from .malt import MALT
from .prediction import NeighborPrediction
from .soft_knn import SoftKNN

__all__ = [
    "ASK",
    "EOT",
    "MALT",
    "Bound",
    "CrossEntropy",
    "DefenseMargin",
    "FeatureSpace",
    "GuidedNeighbors",
    "Margin",
    "NeighborPrediction",
    "Objective",
    "ProbabilityMargin",
    "Score",
    "SoftKNN",
    "StandIn",
    "TargetCentroid",
    "TargetedDLR",
    "expected",
    "margin",
    "with_gradient",
]
