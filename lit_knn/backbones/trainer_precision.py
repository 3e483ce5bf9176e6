"""What a Trainer's precision is, told to the networks that it tests."""

from __future__ import annotations

from torch import nn

from lit_knn.backbones.classifier import Classifier
from lit_knn.backbones.precision import verify_precision


def set_precision(module: nn.Module, precision: str) -> None:
    """Tell every classifier within a module what a Trainer's precision is: all that they give depends on it.

    Raises:
        UserError: For one that is not accepted.
    """
    verify_precision(precision)
    for part in module.modules():
        if isinstance(part, Classifier):
            part.precision = precision
