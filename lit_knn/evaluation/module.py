"""Attack, defend, score: the LightningModule behind ``lit-knn test``."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import pytorch_lightning as pl
from torch import Tensor, nn

from lit_knn.attacks import Attack, Attempt
from lit_knn.backbones import Classifier, outside_networks, set_precision
from lit_knn.data import Batch, ImageData
from lit_knn.database import Database, StoredGallery, read_at
from lit_knn.defenses import Defense, NoDefense, Requirements, Variant, most_needed, randomized
from lit_knn.distributed.collectives import meet
from lit_knn.evaluation import validation
from lit_knn.evaluation.cache import ActivationCache, BatchKey
from lit_knn.evaluation.cascade import Cascade, Stage, stages
from lit_knn.evaluation.case_runner import CaseRunner
from lit_knn.evaluation.cases import idle, pair
from lit_knn.evaluation.metrics import Tally
from lit_knn.evaluation.observation import Observation, Observer
from lit_knn.evaluation.provenance import network_hashes, run_origin
from lit_knn.evaluation.readiness import joint_requirements, open_database
from lit_knn.evaluation.run_context import context_of
from lit_knn.evaluation.run_files import RunFiles
from lit_knn.evaluation.sample_results import SampleResultFiles, SampleResults
from lit_knn.evaluation.scorers import Scorer, cautions, scorers
from lit_knn.evaluation.scoring import Answers, answers, score
from lit_knn.randomness import run_seed
from lit_knn.report.results import Passes, Row
from lit_knn.report.results.budgets import DEFAULT, NormName, parse_size
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.threat_models import GrayBox, Threat
from lit_knn.threat_models.budget import budget_in
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

log = logging.getLogger(__name__)

TOPK = (1, 5)  # as far as there are more classes


class Evaluation(pl.LightningModule):
    """Accuracy of defenses under attacks, as a function of the perturbation, by default Δ = ‖x* − x‖₂ / ‖x‖₂.

    Args:
        classifier: The defended classifier.
        attacks: Each is run under each threat that knows as much as it looks at, and not more.
        deltas: Largest perturbations of each attack, as numbers or fractions such as ``8/255``, above 0, Δ and L∞ up to
            1; the clean images (Δ = 0) are always measured as well.
        defenses: What answers; by default none, the classifier itself.
        threats: Who knows what; by default gray box, an attack on the classifier itself.
        database: Where retrieval defenses look for neighbors.
        topk: A prediction counts as right if the true class is among the k largest scores; by default for k = 1 and, of
            more than five classes, 5.
        cache: Where the classifier's view of clean and attacked batches is kept; by default in the folder of the run.
        norm: What ``deltas`` are in: ``relative_l2`` (Δ), or as others report them, ``l2`` or ``linf``.
        cascade: Attack an image only while an answer to it stands, with the cheapest attack first; only the worst case
            is known then, of k = 1 by default, and it is that of the full suite.
        evaluations: Of each query by a defense that draws, 1 to 1,000; of several, mean, worst and majority are told.
    """

    def __init__(
        self,
        *,
        classifier: Classifier,
        attacks: list[Attack],
        deltas: list[float | str],
        defenses: list[Defense] | None = None,
        threats: list[Threat] | None = None,
        database: Database | None = None,
        topk: list[int] | None = None,
        cache: ActivationCache | None = None,
        norm: NormName = DEFAULT,
        cascade: bool = False,
        evaluations: int = 1,
    ) -> None:
        super().__init__()
        self.classifier, self.cascade, self.evaluations = classifier, cascade, evaluations
        self.norm, self.budget, sizes = norm, budget_in(norm), [parse_size(delta, "model.deltas") for delta in deltas]
        self.attacks, self.deltas = attacks, sorted({0.0, *sizes})
        self.defenses = [NoDefense()] if defenses is None else defenses
        known = [GrayBox()] if threats is None else threats
        threats = [part for threat in known for part in threat.against(self.defenses)]
        self.threats: Sequence[Threat] = nn.ModuleList(threats)  # type: ignore[assignment]
        self.database, self.encoder = database, None if database is None else database.network  # on one device with it
        self.views: list[StoredGallery] = []  # the database in each of its sizes, once a test has opened it
        self.topk: Sequence[int] = TOPK if topk is None else topk
        self._default_topk = topk is None  # then it depends on C, which is known when a test has tried the classifier
        validation.verify_parts(attacks, sizes, self.budget, self.defenses, threats, database, self.topk, evaluations)
        self.cache, self.cases = cache or ActivationCache(), pair(self.threats, attacks)
        self.networks = nn.ModuleList(self.requirements.networks)  # which go where the classifier goes
        self._scorers: list[Scorer] = []  # once a test has opened the database
        self._surrogate_defenses: dict[str, SurrogateDefense | None] = {}
        self.results: list[Row] = []
        self.passes: list[Passes] = []  # what the attacks took
        self.warnings: list[str] = []  # what to know before the results are believed

    @property
    def gallery(self) -> StoredGallery | None:
        """The opened database, in its largest size; None before a test, or where no defense needs one."""
        return self.views[-1] if self.views else None

    @property
    def variants(self) -> list[Variant]:
        """The lines of the results table, once a test has opened the database."""
        return [variant for scorer in self._scorers for variant in scorer.variants]

    @property
    def needed(self) -> dict[str, int]:
        """The largest number of neighbors that any defense wants, by tap."""
        return most_needed(self.defenses)

    @property
    def requirements(self) -> Requirements:
        """What defenses, and attackers' copies of them, need together."""
        return joint_requirements(self.defenses, self.threats)

    @property
    def sample_results(self) -> SampleResultFiles | None:
        """What became of each query, once a test has scored it; None without a folder of the run."""
        return self._files.results

    def origin(self) -> Fingerprint:
        """Return all that the results depend on, whoever built the parts; once a test has opened the database."""
        return run_origin(self, network_hashes(self.classifier, self.threats, self.surrogate_defenses))

    def surrogate_defense(self, threat: Threat) -> SurrogateDefense | None:
        """Return the attacker's copy of the defense, built when first asked for, and once; None without one."""
        if threat.name not in self._surrogate_defenses:
            self._surrogate_defenses[threat.name] = threat.surrogate_defense(self.classifier, self.gallery)
        return self._surrogate_defenses[threat.name]

    @property
    def surrogate_defenses(self) -> dict[str, SurrogateDefense | None]:
        """The attackers' copies of the defense, by name of the threat."""
        return {threat.name: self.surrogate_defense(threat) for threat in self.threats}

    @property
    def data(self) -> ImageData:
        """The data module of the run."""
        return cast(ImageData, self.trainer.datamodule)  # type: ignore[attr-defined]

    def setup(self, stage: str) -> None:
        """Open the database; make any Trainer keep the gradients that an attack needs."""
        set_precision(self, self.trainer.precision)
        self.trainer.test_loop.inference_mode = False  # read when the loop starts
        self.data.black_queries = not self.budget.relative
        self.views = open_database(self.database, self.requirements, self.classifier, self.data)
        self._scorers = scorers(self.defenses, self.views, run_seed(), self.evaluations)
        self._surrogate_defenses.clear()  # they are of the database as it was opened before
        for threat in self.threats:
            self.surrogate_defense(threat)

    def on_test_model_eval(self) -> None:
        """Try every network on the first batch of the run, and count from nothing: the first hook on the device."""
        super().on_test_model_eval()
        taps = read_at(self.gallery, self.needed) if self.gallery else []
        first = self.data.first_images(self.device)["image"]
        num_classes = validation.verify_networks(
            self.classifier, self.threats, self.encoder, taps, first, self.data.preprocessing, self.requirements
        )
        if self._default_topk:
            self.topk = [k for k in TOPK[: 1 if self.cascade else None] if k < num_classes]
        validation.verify_topk(self.topk, num_classes)
        validation.verify_attackers(self.cases, self._surrogate_defenses)
        self.warnings = [*idle(self.threats, self.cases), *randomized(self.defenses, self.classifier, first)]
        cases = [(threat.name, attack.name) for threat, attack in self.cases]
        counted = Tally(cases, self.deltas, self.variants, self.topk, norm=self.norm, cascade=self.cascade)
        self.tally = counted.to(self.device)
        self._context = context_of(self.trainer)
        self._observer = Observer(self.classifier, self.views, self.needed, self._scorers, self.budget, run_seed())
        self._files = RunFiles.of(self, self._observer, self._context)
        self._runner = CaseRunner(self, self._observer, self._files.cases, self._context.tell)
        self._cascade = None
        if self.cascade:
            shape, steps = (len(self.cases), len(self.deltas)), stages(self.cases, len(self.deltas) - 1)
            self._cascade = Cascade(steps, shape, self.data.batch_size, self._attack_stage, self._keep)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Attack a batch and observe it, in every case at every Δ; then search, vote and count: now, or at the end.

        It waits where one pass over the database serves all batches, and in a cascade for others to be attacked with.
        """
        validation.verify_labels(batch, self.data.queries, self.classifier.num_classes)
        image, label = batch["image"], batch["label"]
        key = BatchKey.of(image, label, batch["id"])
        with outside_networks(self.device):
            if self._cascade is not None:
                clean = score(self._runner.clean(key, image), label, self._scorers, topk=self.topk, sizes=0)
                self._cascade.add(image, label, key.ids, clean)
            elif self._files.search is None:
                self._score(key, label, self._runner.everything(key, image, label))
            else:
                deque(self._runner.everything(key, image, label), maxlen=0)  # the cache has them
                self._files.search.add(key, label)

    def _score(self, batch: BatchKey, label: Tensor, observations: Iterable[Observation]) -> None:
        """Let every defense answer, which searches and votes; keep what becomes of each query, and count."""
        self._keep(batch.ids, score(observations, label, self._scorers, topk=self.topk, sizes=len(self.deltas) - 1))

    def _keep(self, ids: Tensor, results: SampleResults) -> None:
        if self._files.results is not None:
            self._files.results.write(ids, results)
        self.tally.count(ids, results)

    def _attack_stage(self, stage: Stage, image: Tensor, label: Tensor, ids: Tensor) -> Iterator[Answers]:
        """Attack images ``(n, 3, H, W)`` of any batches in one stage of the cascade, and let every defense answer."""
        batch, deltas = BatchKey.of(image, label, ids), [self.deltas[size] for size in stage.sizes]
        for observation in self._runner.attacked(stage.case, batch, image, label, deltas):
            yield answers(observation, label, self._scorers, self.topk)

    def attacked(
        self, threat: Threat, attack: Attack, image: Tensor, label: Tensor, ids: Tensor, deltas: Sequence[float]
    ) -> Iterator[Attempt]:
        """Return a batch attacked in one case at each Δ."""
        network, copy = threat.attacked(self.classifier), self.surrogate_defense(threat)
        transfer = threat.transfers(self.defenses)
        return attack.attempts(network, image, label, ids, deltas, copy, self.norm, transfer=transfer)

    def on_test_epoch_end(self) -> None:
        """Search for all waiting batches, prove that each query was seen exactly once, merge counts of all processes.

        Raises:
            AuditError: If a query was left out or seen twice.
        """
        if self._cascade is not None:
            with outside_networks(self.device):
                self._cascade.finish(self._context.pause)
        if self._files.search is not None:
            self._files.search.run(self.trainer, self._context)
            for batch, label, observations in self._files.search:
                self._score(batch, label, observations)
        if self.gallery is not None:
            self.gallery.finish()
        meet(self._context.pause)  # collectives of the metrics do not wait as long
        if isinstance(self.trainer.limit_test_batches, float) and self.trainer.limit_test_batches == 1:
            self.tally.audit.verify(self.data.expected_query_ids())
        self.results, self.passes = self.tally.accuracy.rows(), self.tally.passes.rows()
        self.warnings += [*cautions(self._scorers), *self.tally.cautions(cast(int, self.classifier.num_classes))]
        for sentence in self.warnings if self.trainer.is_global_zero else []:
            log.warning("%s", sentence)

    def on_test_end(self) -> None:
        """Answer the callbacks of other processes."""
        if self.gallery is not None:
            self.gallery.finish()
