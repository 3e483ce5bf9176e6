"""Which attack is run by whom: the cases of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from pytorch_lightning.utilities import rank_zero_info

from lit_knn.attacks import Attack
from lit_knn.errors import UserError
from lit_knn.threat_models import Threat

Case = tuple[Threat, Attack]


def pair(threats: Sequence[Threat], attacks: Sequence[Attack]) -> list[Case]:
    """Pair each threat with the attacks that look at its copy of the defense, or with the others if it has none.

    An attack that fits no copy is left out with a word: a suite may hold attacks on defenses that a run is without.

    Raises:
        UserError: If there is no threat for an attack, or no attack for all threats of a kind.
    """
    cases = [case for case in product(threats, attacks) if _fits(*case)]
    for attack in attacks:
        if all(threat.adaptive != attack.objective.adaptive for threat in threats):
            wanted = "WhiteBox" if attack.objective.adaptive else "GrayBox or BlackBox"
            raise UserError(f"attack {attack.name} needs a threat that the evaluation does not have: add {wanted}")
        if all(attack is not used for _, used in cases):
            rank_zero_info(f"Attack {attack.name} fits no defense of this run and is left out.")
    for threat in threats:
        if all(threat.adaptive != used.adaptive for used, _ in cases):
            kind = "looks at the defense that it copies" if threat.adaptive else "does without a copy of the defense"
            raise UserError(f"threat {threat.name} has nothing to do: no attack of the evaluation {kind}")
    return cases


def idle(threats: Sequence[Threat], cases: Sequence[Case]) -> list[str]:
    """Return a sentence about each threat whose copy of the defense no attack fits, though others have some.

    There is none where each defense that it attacks has another copy which an attack fits: one that stands in for it,
    as the vote of the same neighbors does for `DeepKNN`, knows as much.
    """
    tried = frozenset[int]().union(*(threat.of for threat, _ in cases))
    return [
        f"no attack of the evaluation fits threat {threat.name}: nobody who knows this defense has been tried; add "
        "Square, or PGD with the objective DefenseMargin where the defense has a gradient"
        for threat in threats
        if all(threat is not used for used, _ in cases) and not (threat.of and threat.of <= tried)
    ]


def _fits(threat: Threat, attack: Attack) -> bool:
    objective, copy = attack.objective, threat.defense
    if threat.adaptive != objective.adaptive:
        return False
    if copy is None:
        return True
    tried = threat.chosen and copy.differentiable is None
    return objective.fits(copy, gradient=not (attack.gradient_free or tried))
