"""Attack, defend, score: the LightningModule behind ``lit-knn test``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import starmap
from typing import cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lit_knn.attacks import Attack, Attempt
from lit_knn.attacks.perturbation import normalized_l2
from lit_knn.backbones import Classifier, outside_networks, set_precision
from lit_knn.data import Batch, ImageData
from lit_knn.database import Database, StoredGallery
from lit_knn.defenses import Defense, NoDefense, Query, Seen, Variant, most_needed, randomized
from lit_knn.distributed.collectives import meet
from lit_knn.evaluation import validation
from lit_knn.evaluation.cache import AdversarialCache, Attacked, CachedCase, batch_digest
from lit_knn.evaluation.cases import pair
from lit_knn.evaluation.metrics import Tally
from lit_knn.evaluation.offline_search import Deferral
from lit_knn.evaluation.provenance import case_origins, outcome_origin
from lit_knn.evaluation.sample_results import Outcomes
from lit_knn.evaluation.scoring import answers, variants
from lit_knn.randomness import Randomness
from lit_knn.report.results import Row
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.threat_models import GrayBox, Threat
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

log = logging.getLogger(__name__)

TOPK = (1, 5)  # as far as there are more classes


class Evaluation(pl.LightningModule):
    """Accuracy of defenses under attacks, as a function of the perturbation Δ = ‖x* − x‖₂ / ‖x‖₂.

    Args:
        classifier: The defended classifier.
        attacks: Each is run under each threat that knows as much as it looks at, and not more.
        deltas: Largest Δ of each attack, in (0, 1]; the clean images (Δ = 0) are always measured as well.
        defenses: What answers; by default none, the classifier itself.
        threats: Who knows what; by default gray box, an attack on the classifier itself.
        database: Where retrieval defenses look for neighbors.
        topk: A prediction counts as right if the true class is among the k largest scores; by default for k = 1 and, of
            more than five classes, 5.
        cache: Where attacked batches are kept for other runs; nowhere by default.
    """

    def __init__(
        self,
        *,
        classifier: Classifier,
        attacks: list[Attack],
        deltas: list[float],
        defenses: list[Defense] | None = None,
        threats: list[Threat] | None = None,
        database: Database | None = None,
        topk: list[int] | None = None,
        cache: AdversarialCache | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.attacks = attacks
        self.deltas = sorted({0.0, *deltas})
        self.defenses = [NoDefense()] if defenses is None else defenses
        known = [GrayBox()] if threats is None else threats
        threats = [part for threat in known for part in threat.against(self.defenses)]
        self.threats: Sequence[Threat] = nn.ModuleList(threats)  # type: ignore[assignment]
        self.database = database
        self.views: list[StoredGallery] = []  # the database in each of its sizes, once a test has opened it
        self.topk: Sequence[int] = TOPK if topk is None else topk
        self._default_topk = topk is None  # then it depends on C, which is known when a test has tried the classifier
        validation.verify_parts(
            attacks=attacks,
            deltas=deltas,
            defenses=self.defenses,
            threats=threats,
            database=database,
            topk=self.topk,
            cache=cache,
        )
        self.cache = cache
        self.cases = pair(self.threats, attacks)
        self._surrogate_defenses: dict[str, SurrogateDefense | None] = {}
        self._kept: dict[tuple[str, str], CachedCase] = {}
        self.outcomes: Outcomes | None = None  # where finished batches are kept, if anywhere
        self.deferral: Deferral | None = None  # where batches wait for their neighbors, if they do
        self.watch: Callable[[str], object] = str  # told what is attacked next: a batch may take an hour
        self.pause: Callable[[], object] = lambda: None  # called between pieces of work, where a test may be stopped
        self.results: list[Row] = []
        self.warnings: list[str] = []  # what to know before the results are believed

    @property
    def gallery(self) -> StoredGallery | None:
        """The opened database, in its largest size; None before a test, or where no defense needs one."""
        return self.views[-1] if self.views else None

    @property
    def variants(self) -> list[Variant]:
        """The lines of the results table, once a test has opened the database."""
        return variants(self.defenses, self.views)

    @property
    def needed(self) -> dict[str, int]:
        """The largest number of neighbors that any defense wants, by tap."""
        return most_needed(self.defenses)

    @property
    def seed(self) -> int:
        """Of defenses that draw: the number that `seed_everything` was called with, 0 if it was not."""
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))

    def origin(self) -> Fingerprint:
        """Return all that the outcomes depend on, whoever built the parts; once a test has opened the database."""
        return outcome_origin(self)

    def surrogate_defense(self, threat: Threat) -> SurrogateDefense | None:
        """Return the attacker's copy of the defense, built when first asked for, and once; None without one."""
        if threat.name not in self._surrogate_defenses:
            self._surrogate_defenses[threat.name] = threat.surrogate_defense(self.classifier, self.gallery)
        return self._surrogate_defenses[threat.name]

    @property
    def data(self) -> ImageData:
        """The data module of the run."""
        return cast(ImageData, self.trainer.datamodule)  # type: ignore[attr-defined]

    def setup(self, stage: str) -> None:
        """Open the database; make any Trainer keep the gradients that an attack needs."""
        set_precision(self, self.trainer.precision)
        self.trainer.test_loop.inference_mode = False  # read when the loop starts
        self.views = validation.require_database(self.database).open(self.classifier, self.data) if self.needed else []
        validation.verify_neighbors(self.needed, self.views)
        self._surrogate_defenses.clear()  # they are of the database as it was opened before
        surrogate_defenses = {threat.name: self.surrogate_defense(threat) for threat in self.threats}
        if self.cache is not None:
            taps = {name: self.gallery.tap(name) for name in self.needed} if self.gallery else {}
            origins = case_origins(
                self.cases, surrogate_defenses, self.classifier, self.data, precision=self.trainer.precision
            )
            self._kept = {case: self.cache.case(origin, taps) for case, origin in origins.items()}

    def on_test_model_eval(self) -> None:
        """Try every network on the first batch of the run, and start counting from nothing: the first hook on the device."""
        super().on_test_model_eval()
        taps = [self.gallery.tap(name) for name in self.needed] if self.gallery else []
        first = self.data.first_images(self.device)["image"]
        num_classes = validation.verify_networks(self.classifier, self.threats, taps, first, self.data.preprocessing)
        if self._default_topk:
            self.topk = [k for k in TOPK if k < num_classes]
        validation.verify_topk(self.topk, num_classes)
        validation.verify_attackers(self.cases, self._surrogate_defenses, num_classes)
        self.warnings = randomized(self.defenses, self.classifier, first)
        cases = [(threat.name, attack.name) for threat, attack in self.cases]
        self.tally = Tally(cases, self.deltas, self.variants, self.topk).to(self.device)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Attack a batch in every case at every Δ, let every defense answer, count what is right."""
        validation.verify_labels(batch, self.data.queries, self.classifier.num_classes)
        with outside_networks(self.device):
            self._test(batch)

    def _test(self, batch: Batch) -> None:
        ids, label, digest = batch["id"], batch["label"], ""
        if self.outcomes or self.cache:
            digest = batch_digest(batch["image"], label, ids)
        tied = self.outcomes.tied(digest) if self.outcomes else ""
        outcome = self.outcomes.load(ids, tied) if self.outcomes else None
        looks = partial(self.looks, batch["image"], label, ids, digest)
        if outcome is not None:
            self.tally.count(ids, outcome)
        elif self.deferral is not None:
            self.deferral.keep(ids, label, tied, looks)
        else:
            self.conclude(ids, label, tied, looks())

    def looks(self, image: Tensor, label: Tensor, ids: Tensor, batch: str) -> Iterator[Attacked]:
        """Yield N queries ``(N, 3, H, W)`` as defenses meet them: clean, and then in every case at every Δ > 0."""
        yield self.look(image, ids, image, torch.zeros_like(ids, dtype=torch.bool))
        for threat, attack in self.cases:
            self.watch(f"{threat.name}: {attack.name}")
            yield from self.sweep(threat, attack, image, label, ids, batch)

    def conclude(self, ids: Tensor, label: Tensor, batch: str, looks: Iterable[Attacked]) -> None:
        """Let every defense answer what `looks` gave, keep what becomes of each query, and count."""
        outcome = answers(looks, label, self.defenses, self.views, topk=self.topk, sizes=len(self.deltas) - 1)
        if self.outcomes:
            self.outcomes.save(ids, batch, outcome)
        self.tally.count(ids, outcome)

    def sweep(
        self, threat: Threat, attack: Attack, image: Tensor, label: Tensor, ids: Tensor, batch: str
    ) -> Iterator[Attacked]:
        """Attack a batch in one case at every Δ, as far as the cache does not know what comes of it."""
        run, look = partial(self.attacked, threat, attack, image, label, ids), partial(self.look, image, ids)
        if self.cache is None:
            return starmap(look, run(self.deltas[1:]))
        kept = self._kept[threat.name, attack.name]
        return kept.sweep(batch, image, ids, self.deltas[1:], attack=run, look=look, query=partial(self.query, ids))

    def attacked(
        self, threat: Threat, attack: Attack, image: Tensor, label: Tensor, ids: Tensor, deltas: Sequence[float]
    ) -> Iterator[Attempt]:
        """Return a batch attacked in one case at each Δ."""
        return attack.attempts(
            threat.attacked(self.classifier), image, label, ids, deltas, self.surrogate_defense(threat)
        )

    def look(self, image: Tensor, ids: Tensor, adversarial: Tensor, flat: Tensor) -> Attacked:
        """Return what defenses may ask of ``adversarial (N, 3, H, W)``, how far it is from ``image``, and `flat`."""
        normalize, query = self.classifier.normalize, self.query(ids, adversarial)
        _ = query.seen  # of one pass, whatever the defenses ask for first
        normalized = normalized_l2(normalize(image), normalize(adversarial))
        return Attacked(query, normalized_l2(image, adversarial), normalized, flat)

    def query(self, ids: Tensor, image: Tensor | None, seen: Seen | None = None) -> Query:
        """Return a query of the defended classifier and its database for ``(N, 3, H, W)`` images."""
        return Query(image, self.classifier, self.gallery, self.needed, seen, Randomness(self.seed, ids))

    def on_test_epoch_end(self) -> None:
        """Answer what was deferred, prove that each query was seen exactly once, merge the counts of all processes.

        Raises:
            AuditError: If a query was left out or seen twice.
        """
        if self.deferral is not None:
            self.deferral.look_up(self.trainer, tell=self.watch, pause=self.pause)
            for waited in self.deferral:
                self.conclude(*waited)
        if self.gallery is not None:
            self.gallery.finish()
        meet(self.pause)  # collectives of the metrics do not wait as long
        if isinstance(self.trainer.limit_test_batches, float) and self.trainer.limit_test_batches == 1:
            self.tally.audit.verify(self.data.expected_query_ids())
        self.results = self.tally.accuracy.rows()
        self.warnings += self.tally.cautions(cast(int, self.classifier.num_classes))
        for sentence in self.warnings if self.trainer.is_global_zero else []:
            log.warning("%s", sentence)

    def on_test_end(self) -> None:
        """Answer the callbacks of other processes."""
        if self.gallery is not None:
            self.gallery.finish()
