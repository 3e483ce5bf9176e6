"""What a test keeps while it runs: activations, neighbors that have been found, and what became of each query."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lit_knn.evaluation.cache import CachedCase
from lit_knn.evaluation.observation import Observer
from lit_knn.evaluation.offline_search import OfflineSearch
from lit_knn.evaluation.provenance import CLEAN, case_origins, claim_run, network_hashes, run_origin
from lit_knn.evaluation.run_context import RunContext
from lit_knn.evaluation.sample_results import SampleResultFiles
from lit_knn.report.results import answers_of
from lit_knn.report.results.samples import SAMPLES_FOLDER

if TYPE_CHECKING:
    from lit_knn.evaluation.module import Evaluation


class RunFiles(NamedTuple):
    """The stores of a test.

    Attributes:
        cases: What is known of the images, by threat and attack, and clean ones.
        search: Where batches wait for their neighbors; None where each is searched for at once.
        results: What became of each query; None without a folder.
    """

    cases: dict[tuple[str, str], CachedCase]
    search: OfflineSearch | None = None
    results: SampleResultFiles | None = None

    @classmethod
    def of(cls, evaluation: Evaluation, observer: Observer, context: RunContext) -> RunFiles:
        """Open them, in the folder of the run if there is one; otherwise only a cache that is shared is kept.

        Batches wait where a search reads all of the database.

        Raises:
            UserError: If the folder is another run's.
        """
        folder, trainer = context.folder, evaluation.trainer
        classifier, copies = evaluation.classifier, evaluation.surrogate_defenses
        hashes = network_hashes(classifier, evaluation.threats, copies)
        run = "" if folder is None else claim_run(folder, run_origin(evaluation, hashes))
        origins = case_origins(
            evaluation.cases,
            copies,
            classifier,
            evaluation.data,
            hashes,
            precision=trainer.precision,
            norm=evaluation.norm,
            defenses=evaluation.defenses,
        )
        activations = None if folder is None else folder / "activations"
        cases = {
            case: evaluation.cache.case(origin, observer.wanted, activations, attacked=case != CLEAN)
            for case, origin in origins.items()
        }
        if folder is None:
            return cls(cases)
        lines = len(answers_of(evaluation.variants))
        shape = len(evaluation.cases), len(evaluation.deltas), lines, len(evaluation.topk)
        results, search = SampleResultFiles(folder / SAMPLES_FOLDER, run, shape), None
        if (
            evaluation.needed
            and not evaluation.cascade
            and evaluation.gallery is not None
            and evaluation.gallery.reads_everything
        ):
            cells = [
                (known, delta)
                for case, known in cases.items()
                for delta in ([0.0] if case == CLEAN else evaluation.deltas[1:])
            ]
            search = OfflineSearch(folder / "search", run, observer, cells, evaluation.device)
        for store in (results, search) if trainer.is_global_zero else ():
            if store is not None:
                store.tidy()
        return cls(cases, search, results)
