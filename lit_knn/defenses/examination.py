"""Whether a defense draws random numbers that are not its query's: it is asked about the same few images again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_knn.backbones.examination import agree
from lit_knn.backbones.random_state import RandomState
from lit_knn.defenses.base import Defense
from lit_knn.defenses.none import NoDefense
from lit_knn.defenses.query import Query
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness

if TYPE_CHECKING:
    from lit_knn.backbones import Classifier

FEW = 2  # images


def randomized(defenses: Sequence[Defense], classifier: Classifier, image: Tensor) -> list[str]:
    """Return a sentence about each defense that draws random numbers of its own or answers the same images in two ways.

    Retrievals are not asked: that may cost a pass over the database. Nor is any defense of a randomized classifier,
    which says so itself. Global generators are left as they were.

    Args:
        defenses: Asked two or three times about two images.
        classifier: The defended one.
        image: ``(N, 3, H, W)`` float32 in [0, 1]; the same in all processes.

    Raises:
        UserError: If a defense draws from its query and says that it does not.
    """
    few = image[:FEW]
    if not _repeats(NoDefense(), classifier, few):
        return []
    asked = [defense for defense in defenses if not defense.needed]
    sentences = []
    for defense in asked:
        name = defense.variants[0].defense
        if not _repeats(defense, classifier, few):
            sentences.append(
                f"defense {name} draws random numbers that are not its query's: its results depend on the batch size, "
                "on the number of processes and on where a run was interrupted; draw from `query.randomness`"
            )
        elif not (defense.random or _repeats(defense, classifier, few, seeds=(0, 1))):
            raise UserError(f"defense {name} draws from `query.randomness`, but its `random` is False: set it to True")
    return sentences


def _repeats(defense: Defense, classifier: Classifier, image: Tensor, seeds: Sequence[int] = (0, 0)) -> bool:
    ids = torch.arange(len(image), device=image.device)
    with RandomState(image.device) as before, torch.no_grad():
        first, again = (defense(Query(image, classifier, randomness=Randomness(seed, ids))) for seed in seeds)
        return RandomState(image.device).same(before) and agree(again, first, first.dtype)
