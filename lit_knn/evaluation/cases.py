"""Which attack is run by whom: the cases of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from lit_knn.attacks import Attack
from lit_knn.errors import UserError
from lit_knn.threat_models import Threat


def pair(threats: Sequence[Threat], attacks: Sequence[Attack]) -> list[tuple[Threat, Attack]]:
    """Pair each threat with the attacks that look at the defense if it does, and with the others if it does not.

    Raises:
        UserError: If one of them is left alone.
    """
    cases = [(t, a) for t, a in product(threats, attacks) if t.adaptive == a.objective.adaptive]
    for attack in attacks:
        if all(attack is not used for _, used in cases):
            wanted = "WhiteBox" if attack.objective.adaptive else "GrayBox or BlackBox"
            raise UserError(f"attack {attack.name} needs a threat that the evaluation does not have: add {wanted}")
    for threat in threats:
        if all(threat is not used for used, _ in cases):
            kind = "looks at the defense" if threat.adaptive else "does without a copy of the defense"
            raise UserError(f"threat {threat.name} has nothing to do: no attack of the evaluation {kind}")
    return cases
