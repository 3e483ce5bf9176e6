"""Who knows what: the network that is attacked, and how much of the defense the attacker holds a copy of."""

from .attack_target import AttackTarget
from .base import Threat
from .black_box import BlackBox
from .gray_box import GrayBox
from .surrogate_defense import SurrogateDefense
from .white_box import WhiteBox

__all__ = ["AttackTarget", "BlackBox", "GrayBox", "SurrogateDefense", "Threat", "WhiteBox"]
