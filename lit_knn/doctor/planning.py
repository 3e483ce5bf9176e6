"""What a test will do, counted before anything is built: what it attacks, shows to networks and writes.

A cache that it shares with tests before it saves what `lit_knn.evaluation.cache` would find there, by the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from torch import nn

from lit_knn.attacks import Attack
from lit_knn.attacks.objectives import EOT
from lit_knn.data import ImageData
from lit_knn.database import StoredGallery
from lit_knn.doctor.planned_gallery import PlannedGallery
from lit_knn.evaluation.cache import TOLD
from lit_knn.evaluation.cache.batch import PERTURBATION
from lit_knn.evaluation.module import Evaluation
from lit_knn.evaluation.observation import Observer
from lit_knn.evaluation.provenance import CLEAN, case_origins, network_hashes
from lit_knn.evaluation.scorers import Scorer, scorers
from lit_knn.randomness import run_seed
from lit_knn.report.results import answers_of
from lit_knn.storage.fingerprint import digest
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

ROWS = 10**6  # of a database of which nobody knows how many it has: only whether two views are the same depends on it

Kept = dict[tuple[str, ...], frozenset[str]]
"""The columns of each batch file of all caches, by what it is found by: cache, case, queries and Δ."""


class Passes(NamedTuple):
    """How often a network is asked about each query.

    Attributes:
        network: Which, an `Ensemble` too.
        forward: Passes forward alone.
        both: Passes there and back.
    """

    network: nn.Module
    forward: int
    both: int


class Cell(NamedTuple):
    """What is written of each batch in one case at one Δ.

    Attributes:
        columns: Those that were not there before.
        new: Whether their file was not.
        shared: Whether it is in a cache with a path of its own.
    """

    columns: frozenset[str]
    new: bool
    shared: bool


class PlannedTest(NamedTuple):
    """A test that has not begun.

    Attributes:
        observed: How often each query is shown to the classifier and the network that retrieves, clean or attacked.
        asked: What defenses that look at the image pass through networks besides.
        attacks: What attacks pass, at most if ``cascade``.
        cells: What the activation cache takes.
        columns: Tap of each column of activations, or number of variants of each column of scores.
        shape: A, E and V: cases, sizes of perturbation with 0, and answers.
        searched: Number of neighbors by tap that one pass over the store looks for; empty where each batch is searched.
        views: Number of sizes of the database.
        cascade: Whether most of it may turn out not to be needed.
    """

    observed: int
    asked: list[Passes]
    attacks: list[Passes]
    cells: list[Cell]
    columns: dict[str, str | int]
    shape: tuple[int, int, int]
    searched: dict[str, int]
    views: int
    cascade: bool

    @property
    def passes(self) -> int:
        """Passes of each query through any network, forward and backward: the two networks of a run count as one."""
        return self.observed + sum(part.forward + 2 * part.both for part in [*self.asked, *self.attacks])


def plan(
    evaluation: Evaluation,
    rows: int | None = None,
    *,
    precision: str = "",
    queries: str = "",
    kept: Kept,
    run: str = "",
) -> PlannedTest:
    """Count what a test does, and note what it leaves in its cache.

    Args:
        evaluation: Its model; neither weights nor a database have to be there.
        rows: Of the database; None where nobody knows.
        precision: Of its trainer.
        queries: What tells its batches of queries from others.
        kept: What tests before it have left; changed.
        run: Its name, which no other test has.
    """
    views = _views(evaluation, ROWS if rows is None else rows)
    gallery = cast(StoredGallery, views[-1]) if views else None
    copies = {threat.name: threat.surrogate_defense(evaluation.classifier, gallery) for threat in evaluation.threats}
    asking = scorers(evaluation.defenses, cast(Any, views), run_seed(), evaluation.evaluations)
    observer = Observer(evaluation.classifier, cast(Any, views), evaluation.needed, asking, evaluation.budget)
    origins = case_origins(
        evaluation.cases,
        copies,
        evaluation.classifier,
        cast(ImageData, SimpleNamespace(queries=_Same(), preprocessing=None)),  # `queries` tells them
        network_hashes(evaluation.classifier, evaluation.threats, copies),
        precision=precision,
        norm=evaluation.norm,
        defenses=evaluation.defenses,
    )
    cache = evaluation.cache
    place = run if cache.path is None or evaluation.cascade else str(cache.path)  # a cascade has batches of its own
    observed, attacks, cells = 0, list[Passes](), list[Cell]()
    cases = {(threat.name, attack.name): (threat, attack) for threat, attack in evaluation.cases}
    for names, origin in origins.items():
        images = cache.images and names != CLEAN
        wanted = frozenset(observer.wanted)
        full = wanted | {PERTURBATION} if images else wanted
        attacked = 0
        for delta in [0.0] if names == CLEAN else evaluation.deltas[1:]:
            key = (place, digest(origin | {"images": images}), queries, repr(delta))
            there = kept.get(key, frozenset())
            if wanted <= there:
                continue
            observed += 1
            attacked += not {PERTURBATION, *TOLD} <= there
            cells.append(Cell(full - there, not there, cache.path is not None))
            kept[key] = there | full
        if names != CLEAN and attacked:
            threat, attack = cases[names]
            times = 1 if attack.one_search else attacked
            attacks.append(_attack(threat.attacked(evaluation.classifier), attack, copies[threat.name], times))
    gallery_reads = bool(evaluation.needed) and evaluation.database is not None and evaluation.database.index.exhaustive
    return PlannedTest(
        observed=observed,
        asked=[part for scorer in asking for part in _asked(evaluation, scorer, observed)],
        attacks=attacks,
        cells=cells,
        columns={column: tap for tap, column in observer.taps.items()}
        | {column: len(scorer.defense.variants) for scorer in asking for column in scorer.columns},
        shape=(
            len(evaluation.cases),
            len(evaluation.deltas),
            len(answers_of([variant for scorer in asking for variant in scorer.variants])),
        ),
        searched=evaluation.needed if gallery_reads and not evaluation.cascade else {},
        views=len(views),
        cascade=evaluation.cascade,
    )


class _Same:
    """Queries that all are the same."""

    def identity(self) -> str:
        """Return what tells them from no others."""
        return ""


def _views(evaluation: Evaluation, rows: int) -> Sequence[PlannedGallery]:
    """Return the database in each of its sizes; none where no defense needs one."""
    required, database = evaluation.requirements, evaluation.database
    if database is None or not required.database:
        return []
    return [PlannedGallery(database, required.joined, 0, size) for size in database.sizes(rows)]


def _asked(evaluation: Evaluation, scorer: Scorer, observed: int) -> list[Passes]:
    """Return what a defense that looks at the image passes through networks: each draw once, and 0 of no defense."""
    if not scorer.columns or not observed:
        return []
    networks = scorer.defense.requirements().networks or [evaluation.classifier]
    return [Passes(network, observed * len(scorer.columns) * scorer.defense.draws, 0) for network in networks]


def _attack(network: nn.Module, attack: Attack, copy: SurrogateDefense | None, times: int) -> Passes:
    """Return the passes of an attack: each answer of a copy takes as many as it draws, and values of it several."""
    objective, answers = attack.objective, 1
    if isinstance(objective, EOT):
        answers = objective.draws if copy is None else copy.evaluations(objective.draws)
    elif attack.by_value and copy is not None and copy.defense.random:
        answers = copy.evaluations(EOT(objective=objective).draws)
    if copy is not None and copy.defense.uses_image:
        answers *= copy.defense.draws
        network = next(iter(copy.defense.requirements().networks), network)
    passes = attack.passes * answers * times
    return Passes(network, passes, 0) if attack.gradient_free else Passes(network, passes % 2, passes // 2)
