"""What a notebook needs: an evaluation of a network and tensors that are at hand, by the parts of every other run."""

from .evaluating import evaluate

__all__ = ["evaluate"]
