"""The contract of a threat model: which network is attacked, and what of the defense the attacker holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from lit_knn.backbones import Classifier, Ensemble
from lit_knn.database import StoredGallery
from lit_knn.defenses import Defense
from lit_knn.errors import UserError
from lit_knn.report.results import WORST_CASE
from lit_knn.threat_models.surrogate_defense import SurrogateDefense


class Threat(nn.Module, ABC):
    """State what an attacker knows: the network that they attack, and perhaps the defense.

    It is a module, so that the networks it holds move to the device together with the module that holds it.

    Args:
        name: Name in tables and figures.

    Raises:
        UserError: If the name is that of the worst case over all threats.

    Attributes:
        adaptive: Whether the attacker knows the defense. Those who do run only the attacks whose objective uses it, and
            all others run only the other attacks, which would do the same in both cases.
        defense: Defense that the attacker copies; None if they copy none.
        of: Which defenses of the run it attacks a copy of, by their positions; empty where that is not known.
        chosen: Whether a user named that defense, and so may follow a gradient of which the defense says nothing.
    """

    adaptive: bool = False
    defense: Defense | None = None
    of: frozenset[int] = frozenset()
    chosen: bool = True

    def __init__(self, *, name: str) -> None:
        super().__init__()
        if name in WORST_CASE:
            raise UserError(
                f"a threat has name: {name}; {' and '.join(WORST_CASE)} are what results call all threats together"
            )
        self.name = name

    @abstractmethod
    def attacked(self, defended: Classifier) -> Classifier | Ensemble:
        """Return the network that is attacked.

        Args:
            defended: The classifier that the defense protects.

        Returns:
            A network from images ``(N, 3, H, W)`` in [0, 1] to logits ``(N, C)``.
        """

    def against(self, defenses: Sequence[Defense]) -> list[Threat]:
        """Return the threats that this one stands for in a run with these defenses; by default itself alone."""
        del defenses
        return [self]

    def transfers(self, defenses: Sequence[Defense]) -> bool:
        """Return whether the answers that the attacker sees may be others than those of all defenses; by default so.

        Such an attacker does not know when an image is broken, so that none of their attacks stops before its end.

        Args:
            defenses: Those of the run.
        """
        del defenses
        return True

    def surrogate_defense(self, defended: Classifier, gallery: StoredGallery | None) -> SurrogateDefense | None:
        """Return the attacker's copy of the defense; None if they do not know it.

        Args:
            defended: The classifier that the defense protects.
            gallery: The database that the defense searches; None if no defense needs one.
        """
        del defended, gallery
        return None
