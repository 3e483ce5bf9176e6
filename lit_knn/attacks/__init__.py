"""Attacks: images and labels to adversarial images within a budget Δ."""

from .apgd import APGD
from .base import Attack, Perturb
from .cw import CWL2
from .fgsm import FGSM
from .fmn import FMN
from .gradient_descent import GradientDescent
from .ifgsm import IFGSM
from .noise import RandomNoise
from .outputs import Attempt, BudgetError
from .pgd import PGD
from .square import Square

__all__ = [
    "APGD",
    "CWL2",
    "FGSM",
    "FMN",
    "IFGSM",
    "PGD",
    "Attack",
    "Attempt",
    "BudgetError",
    "GradientDescent",
    "Perturb",
    "RandomNoise",
    "Square",
]
