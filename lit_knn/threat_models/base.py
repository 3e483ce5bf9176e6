"""The contract of a threat model: which network is attacked, and what of the defense the attacker holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from lit_knn.backbones import Classifier, Ensemble
from lit_knn.database import StoredGallery
from lit_knn.defenses import Defense
from lit_knn.threat_models.surrogate_defense import SurrogateDefense


class Threat(nn.Module, ABC):
    """What the attacker can look into.

    A module, so that whatever it holds moves to the device with the module that holds it.

    Attributes:
        adaptive: Whether the attacker knows the defense. An attack whose objective looks at it is run by such attackers
            only, any other one by the others only: against the classifier alone both would do the same.
        defense: What the attacker copies, if anything.
    """

    adaptive: bool = False
    defense: Defense | None = None

    def __init__(self, *, name: str) -> None:
        super().__init__()
        self.name = name

    @abstractmethod
    def attacked(self, defended: Classifier) -> Classifier | Ensemble:
        """Return the network that is attacked, pixels in [0, 1] → logits.

        Args:
            defended: The classifier behind the defense, without the defense.
        """

    def against(self, defenses: Sequence[Defense]) -> list[Threat]:
        """Return the threats that this one stands for, given all defenses of a run; by default itself."""
        del defenses
        return [self]

    def surrogate_defense(self, defended: Classifier, gallery: StoredGallery | None) -> SurrogateDefense | None:
        """Return the attacker's copy of the defense; None if they do not know it.

        Args:
            defended: The classifier behind the defense.
            gallery: The defense's; None if it needs none.
        """
        del defended, gallery
        return None
