"""A threat model: the attacker knows neither classifier nor defense, and attacks networks of their own."""

from __future__ import annotations

from lit_knn.backbones import Classifier, Ensemble
from lit_knn.errors import UserError
from lit_knn.threat_models.base import Threat


class BlackBox(Threat):
    """Attack networks of the attacker's own, as someone must who knows neither classifier nor defense.

    Args:
        surrogates: The attacker's networks, at least one; several are attacked together, by their mean probability.
        name: Name in tables and figures; must be set where a run has several black boxes.

    Raises:
        UserError: If there is no network.

    References:
        Dubey et al. 2019, Section 5.1 (there, a ResNet-18 for a ResNet-50); Liu et al. 2017, Section 5, ensembles.
    """

    def __init__(self, *, surrogates: list[Classifier], name: str = "black_box") -> None:
        super().__init__(name=name)
        if not surrogates:
            raise UserError("BlackBox takes at least one network in surrogates")
        self.surrogate = surrogates[0] if len(surrogates) == 1 else Ensemble(surrogates)

    def attacked(self, defended: Classifier) -> Classifier | Ensemble:
        """Return the attacker's network, or the ensemble of several."""
        del defended
        return self.surrogate
