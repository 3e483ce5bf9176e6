"""Whether a defense answers by chance: it is asked twice about the same few images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_knn.backbones.examination import agree
from lit_knn.backbones.random_state import RandomState
from lit_knn.defenses.base import Defense, Query
from lit_knn.defenses.none import NoDefense

if TYPE_CHECKING:
    from lit_knn.backbones import Classifier

FEW = 2  # images


def randomized(defenses: Sequence[Defense], classifier: Classifier, image: Tensor) -> list[str]:
    """Return a sentence about each defense that draws random numbers, or answers the same images in two ways.

    Retrievals are not asked: that may cost a pass over the database. Nor is any defense of a randomized classifier, which
    says so itself. Global generators are left as they were.

    Args:
        defenses: Asked twice about two images.
        classifier: The defended one.
        image: ``(N, 3, H, W)`` float32 in [0, 1]; the same in all processes.
    """
    few = image[:FEW]
    if _by_chance(NoDefense(), classifier, few):
        return []
    return [
        f"defense {defense.variants[0].defense} draws random numbers when it answers: its results depend on the batch "
        "size, on the number of processes and on where a run was interrupted"
        for defense in defenses
        if not defense.needed and _by_chance(defense, classifier, few)
    ]


def _by_chance(defense: Defense, classifier: Classifier, image: Tensor) -> bool:
    with RandomState(image.device) as before, torch.no_grad():
        first, again = (defense(Query(image, classifier)) for _ in range(2))
        return not (RandomState(image.device).same(before) and agree(again, first, first.dtype))
