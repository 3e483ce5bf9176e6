"""Attacks one after the other, each on the images that still stand: the worst case of the full suite for less work.

An image goes on only to what may still change a verdict. What broke all answers to it at one Δ breaks them at each
larger one, whose ball holds the same x*; and what one attack has broken no later one has to. An answer that is
evaluated several times is broken for good when all of its evaluations are wrong. Batches are filled with images of any
batch of the data that wait for the same attack at the same Δ; each is attacked as in any other batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lit_knn.attacks import Attack
from lit_knn.evaluation.sample_results import SampleResults
from lit_knn.evaluation.scoring import Answers
from lit_knn.threat_models import Threat


class Stage(NamedTuple):
    """One attack, at what may be asked of it in one go.

    Attributes:
        case: Position of threat and attack in the cases of the evaluation.
        sizes: Positions of Δ in those of the evaluation: one, or all where one search serves all.
    """

    case: int
    sizes: tuple[int, ...]


def stages(cases: Sequence[tuple[Threat, Attack]], sizes: int) -> list[Stage]:
    """Return the stages by the passes that an image costs in them, in the order of the cases among equals.

    Args:
        cases: Threats and attacks.
        sizes: How many Δ there are above 0; they follow the clean image and ascend.
    """
    positions = range(1, sizes + 1)
    found = []
    for case in sorted(range(len(cases)), key=lambda case: cases[case][1].passes):
        together = cases[case][1].one_search
        found += [Stage(case, tuple(positions))] if together else [Stage(case, (size,)) for size in positions]
    return found


class Waiting(NamedTuple):
    """An image on its way.

    Attributes:
        image: ``(3, H, W)`` float in [0, 1], clean.
        label: ``()`` int64.
        id: ``()`` int64.
        batch: The batch of the data that it is from.
        row: Its place there.
    """

    image: Tensor
    label: Tensor
    id: Tensor
    batch: Verdicts
    row: int


class Verdicts:
    """What has become so far of a batch of the data.

    Args:
        ids: ``(N,)`` int64.
        clean: What its clean images are taken for, and what else is known of them: as `SampleResults` has it with one
            case and one size of perturbation.
        shape: A and E, the numbers of cases and of sizes of perturbation, 0 included.

    Attributes:
        results: Where an attack has not been tried, with the hits of the clean image.
        left: How many of its images are still on their way.
    """

    def __init__(self, ids: Tensor, clean: SampleResults, shape: tuple[int, int]) -> None:
        self.ids, self.left = ids, len(ids)
        cells = {}
        for name in Answers._fields:
            known = getattr(clean, name).cpu()  # (1, 1, N, …), on the CPU: it is asked image by image
            cells[name] = known.new_zeros((*shape, *known.shape[2:]))
            cells[name][:, slice(None) if name == "hits" else 0] = known if name == "hits" else known[:, 0]
        self.results = clean._replace(**cells)

    def stands(self, row: int, sizes: Sequence[int]) -> bool:
        """Return whether any answer to an image is still right at one of some Δ, and at all smaller ones."""
        hits = self.results.hits[:, :, row]  # (A, E, V, T)
        return any(bool((hits[:, : size + 1].amin(dim=(0, 1)) > 0).any()) for size in sizes)

    def take(self, row: int, case: int, size: int, answers: Answers, number: int) -> None:
        """Take what became of an image, the one with a number among those that were attacked together."""
        for name, values in answers._asdict().items():
            getattr(self.results, name)[case, size, row] = values[number]


class Cascade:
    """The stages, with images that wait for each.

    Memory: ``batch_size`` images for each stage at most.

    Args:
        stages: In their order.
        shape: A and E, the numbers of cases and of sizes of perturbation, 0 included.
        batch_size: Of the images attacked together.
        attack: Attacks images ``(n, 3, H, W)`` with labels and ids ``(n,)`` in a stage; yields the answers at each Δ.
        done: Takes the ids of a batch of the data and what became of it, once that is known of all of its images.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        shape: tuple[int, int],
        batch_size: int,
        attack: Callable[[Stage, Tensor, Tensor, Tensor], Iterator[Answers]],
        done: Callable[[Tensor, SampleResults], None],
    ) -> None:
        self._stages, self._shape, self._batch_size = stages, shape, batch_size
        self._attack, self._done = attack, done
        self._waiting: list[list[Waiting]] = [[] for _ in stages]

    def add(self, image: Tensor, label: Tensor, ids: Tensor, clean: SampleResults) -> None:
        """Let a batch in, ``(N, 3, H, W)`` with labels and ids ``(N,)``, and attack whatever batches are full."""
        batch = Verdicts(ids, clean, self._shape)
        for row, parts in enumerate(zip(image, label, ids, strict=True)):
            self._pass_on(Waiting(*parts, batch, row), 0)
        while full := [number for number, waiting in enumerate(self._waiting) if len(waiting) >= self._batch_size]:
            self._run(full[-1])  # so that few wait

    def finish(self, pause: Callable[[], object]) -> None:
        """Attack all that wait, with a pause before each batch, which may raise."""
        for number in range(len(self._stages)):
            while self._waiting[number]:
                pause()
                self._run(number)

    def _run(self, number: int) -> None:
        stage, waiting = self._stages[number], self._waiting[number]
        chosen, self._waiting[number] = waiting[: self._batch_size], waiting[self._batch_size :]
        parts = (torch.stack(values) for values in list(zip(*chosen, strict=True))[:3])
        for size, answers in zip(stage.sizes, self._attack(stage, *parts), strict=True):
            answers = Answers(*(values.cpu() for values in answers))
            for place, one in enumerate(chosen):
                one.batch.take(one.row, stage.case, size, answers, place)
        for one in chosen:
            self._pass_on(one, number + 1)

    def _pass_on(self, one: Waiting, first: int) -> None:
        """Let an image wait for the first stage from a number on that may change a verdict, or be done with it."""
        for number in range(first, len(self._stages)):
            if one.batch.stands(one.row, self._stages[number].sizes):
                self._waiting[number].append(one)
                return
        one.batch.left -= 1
        if one.batch.left == 0:
            self._done(one.batch.ids, SampleResults(*(values.to(one.image.device) for values in one.batch.results)))
