"""A threat model: the attacker knows the classifier, and nothing of the defense."""

from __future__ import annotations

from collections.abc import Sequence

from lit_knn.backbones import Classifier, Ensemble
from lit_knn.defenses import Defense, NoDefense
from lit_knn.threat_models.base import Threat


class GrayBox(Threat):
    """Attack the defended classifier, as someone does who knows neither the defense nor its database.

    References:
        Dubey et al. 2019, Section 5.1.
    """

    def __init__(self) -> None:
        super().__init__(name="gray_box")

    def attacked(self, defended: Classifier) -> Classifier | Ensemble:
        """Return the defended classifier itself."""
        return defended

    def transfers(self, defenses: Sequence[Defense]) -> bool:
        """Return whether anything but the network itself answers."""
        return not all(isinstance(defense, NoDefense) for defense in defenses)
