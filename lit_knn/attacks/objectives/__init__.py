"""Objectives: what an attacker maximizes."""

from .ask import ASK
from .base import Objective, Score, with_gradient
from .centroid import TargetCentroid
from .classifier import CrossEntropy, Margin, margin
from .defense import DefenseMargin, StandIn
from .dlr import TargetedDLR
from .eot import EOT
from .feature_space import FeatureSpace
from .guided import GuidedNeighbors
from .prediction import NeighborPrediction
from .soft_knn import SoftKNN

__all__ = [
    "ASK",
    "EOT",
    "CrossEntropy",
    "DefenseMargin",
    "FeatureSpace",
    "GuidedNeighbors",
    "Margin",
    "NeighborPrediction",
    "Objective",
    "Score",
    "SoftKNN",
    "StandIn",
    "TargetCentroid",
    "TargetedDLR",
    "margin",
    "with_gradient",
]
