"""What it costs to ask each defense, beside none: measured when a run has ended, on its first batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

import torch

from lit_knn.backbones import Classifier, outside_networks
from lit_knn.backbones.random_state import RandomState
from lit_knn.defenses import Defense, NoDefense, Query
from lit_knn.randomness import Randomness, run_seed
from lit_knn.report.results.costs import Cost

if TYPE_CHECKING:
    from lit_knn.evaluation.module import Evaluation

TIMES, ENOUGH = 3, 0.5  # that a batch is answered, and seconds after which once more tells nothing
LARGEST = 5_000_000  # rows that are read for a number which is only about speed


def defense_costs(evaluation: Evaluation) -> list[Cost]:
    """Return the cost of no defense, and then of each one, with the largest database.

    One process alone has to ask for it, while the others answer what it searches. A retrieval is left out where its
    batch would be one more pass over more than five million rows of the store.

    Args:
        evaluation: Tested, on its device.
    """
    batch = evaluation.data.first_images(evaluation.device)
    image, ids, gallery = batch["image"], batch["id"], evaluation.gallery
    networks = [part for part in evaluation.modules() if isinstance(part, Classifier)]

    def passed() -> int:
        return sum(network.passed for network in networks)

    def cost(defense: Defense) -> Cost:
        drawn = Randomness(run_seed(), ids)

        def ask() -> None:
            defense(Query(image, evaluation.classifier, gallery, defense.needed, randomness=drawn))
            if image.is_cuda:
                torch.cuda.synchronize(image.device)

        before = passed()
        times = _timed(ask)
        passes = (passed() - before) / len(image) / len(times)
        seconds, cpu_seconds = (value / len(image) for value in min(times))
        return Cost(
            defense=_called(defense),
            random=defense.random,
            gradient=_gradient(defense),
            passes=passes,
            images=len(image),
            seconds=seconds,
            cpu_seconds=cpu_seconds,
        )

    slow = gallery is not None and gallery.reads_everything and len(gallery.store) > LARGEST
    asked = [defense for defense in evaluation.defenses if not isinstance(defense, NoDefense)]
    with RandomState(image.device), torch.no_grad(), outside_networks(image.device):
        cost(NoDefense())  # what comes first takes longer, and all others are told beside it
        return [cost(defense) for defense in [NoDefense(), *asked] if not (slow and defense.needed)]


def _timed(ask: Callable[[], None]) -> list[tuple[float, float]]:
    """Return the seconds of a few calls, or of one that takes long, and their seconds of CPU."""
    found: list[tuple[float, float]] = []
    while len(found) < TIMES and sum(seconds for seconds, _ in found) < ENOUGH:
        start, started = time.perf_counter(), time.process_time()
        ask()
        found.append((time.perf_counter() - start, time.process_time() - started))
    return found


def _called(defense: Defense) -> str:
    """Return what all variants have in common, in words; of names such as "fused votes" the first words."""
    first, *others = (variant.words() for variant in defense.variants)
    shared = [word for field, word in first.items() if all(other.get(field) == word for other in others)]
    names = [variant.defense.split() for variant in defense.variants]
    alike = takewhile(lambda words: len(set(words)) == 1, zip(*names, strict=False))
    return " ".join(shared if shared[:1] == [first["defense"]] else [*(words[0] for words in alike), *shared])


def _gradient(defense: Defense) -> Literal["own", "lent", "none"]:
    if defense.differentiable:
        return "own"
    return "lent" if any(copy.differentiable for copy in defense.copies()) else "none"
