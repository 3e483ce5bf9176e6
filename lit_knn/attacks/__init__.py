"""Attacks: images and labels to adversarial images within a budget Δ."""

from .base import Attack, BudgetError, Noise, Objective, Perturb, Victim
from .fgsm import FGSM
from .gradient_descent import GradientDescent
from .ifgsm import IFGSM
from .noise import RandomNoise
from .pgd import PGD

__all__ = [
    "FGSM",
    "IFGSM",
    "PGD",
    "Attack",
    "BudgetError",
    "GradientDescent",
    "Noise",
    "Objective",
    "Perturb",
    "RandomNoise",
    "Victim",
]
