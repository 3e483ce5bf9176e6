"""Attack, defend, score: the LightningModule behind ``lit-knn test``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lit_knn.attacks import Attack
from lit_knn.backbones import Classifier
from lit_knn.data import Batch, ImageData
from lit_knn.database import Database
from lit_knn.defenses import Defense, NoDefense, Query, Variant
from lit_knn.errors import UserError
from lit_knn.fingerprint import Fingerprint
from lit_knn.metrics import RobustAccuracy, SampleAudit, hits
from lit_knn.outcomes import Outcome, Outcomes
from lit_knn.perturbation import normalized_l2
from lit_knn.report import Row
from lit_knn.threat import GrayBox, Threat


class Evaluation(pl.LightningModule):
    """Accuracy of defenses under attacks, as a function of the perturbation Δ = ‖x* − x‖₂ / ‖x‖₂.

    Args:
        classifier: The defended classifier.
        attacks: Each is run under each threat.
        deltas: Largest Δ of each attack, in [0, 1]; the clean images (Δ = 0) are always measured as well.
        defenses: What answers; by default none, the classifier itself.
        threats: Who knows what; by default gray box, an attack on the classifier itself.
        database: Where retrieval defenses look for neighbours.
        topk: A prediction counts as right if the true class is among the k largest scores.
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
        topk: list[int] = [1, 5],  # noqa: B006 - never changed; jsonargparse prints it as the default
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.attacks = attacks
        self.deltas = sorted({0.0, *deltas})
        self.defenses = defenses or [NoDefense()]
        self.threats: Sequence[Threat] = nn.ModuleList(threats or [GrayBox()])  # type: ignore[assignment]
        self.database = database
        self.topk = topk
        if not attacks or not 0 <= self.deltas[0] <= self.deltas[-1] <= 1:
            raise UserError(f"an evaluation takes at least one attack, and deltas of [0, 1], not {deltas}")
        for kind, names in (
            ("threats", [threat.name for threat in self.threats]),
            ("attacks", [attack.name for attack in attacks]),
            ("defense variants", self.variants),
        ):
            if len(set(names)) < len(names):
                raise UserError(f"two {kind} have the same name: {', '.join(map(str, names))}; set `name:`")
        self.cases = [(threat, attack) for threat in self.threats for attack in attacks]
        self.outcomes: Outcomes | None = None  # where finished batches are kept, if anywhere
        self.results: list[Row] = []
        self.accuracy = RobustAccuracy(
            [(threat.name, attack.name) for threat, attack in self.cases], self.deltas, self.variants, topk
        )
        self.audit = SampleAudit()

    @property
    def variants(self) -> list[Variant]:
        """The lines of the results table."""
        return [variant for defense in self.defenses for variant in defense.variants]

    @property
    def needed(self) -> dict[str, int]:
        """The largest number of neighbours that any defense wants, by tap."""
        needed: dict[str, int] = {}
        for defense in self.defenses:
            for tap, k in defense.needed.items():
                needed[tap] = max(k, needed.get(tap, 0))
        return needed

    @property
    def required_database(self) -> Database:
        """The database.

        Raises:
            UserError: If the configuration has none.
        """
        if self.database is None:
            raise UserError("the configuration has no model.database: there is nothing to extract, index or search")
        return self.database

    def fingerprints(self) -> Fingerprint:
        """Return what the outcomes depend on, as far as it is not in the configuration."""
        store = self.required_database.store if self.needed else None
        return {
            "classifier": self.classifier.fingerprint(),
            **{f"attacked by {t.name}": t.attacked(self.classifier).fingerprint() for t in self.threats},
            **{
                f"attack {attack.name}": json.dumps(vars(attack), sort_keys=True, default=str)
                for attack in self.attacks
            },
            "deltas": json.dumps(self.deltas),
            "defenses": json.dumps([*self.variants, self.topk]),
            "queries": self.data.queries.identity(),
            **({"store": store.checksum} if store else {}),
        }

    @property
    def data(self) -> ImageData:
        """The data module of the run."""
        return cast(ImageData, self.trainer.datamodule)  # type: ignore[attr-defined]

    # ---------------------------------------------------------------- the loop

    def setup(self, stage: str) -> None:
        """Open the database; make any Trainer keep the gradients that an attack needs."""
        self.trainer.test_loop.inference_mode = False  # read when the loop starts
        if self.needed:
            self.required_database.open(self.classifier, self.data)

    def on_test_start(self) -> None:
        """Start counting from nothing."""
        self.accuracy.reset()
        self.audit.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Attack a batch in every case at every Δ, let every defense answer, count what is right."""
        outcome = self.outcomes.load(batch["id"]) if self.outcomes else None
        if outcome is None:
            outcome = self.attack(batch["image"], batch["label"], batch["id"])
            if self.outcomes:
                self.outcomes.save(batch["id"], outcome)
        for case, delta in product(range(len(self.cases)), range(len(self.deltas))):
            self.accuracy.update(case, delta, *(part[case, delta] for part in outcome))
        self.audit.update(batch["id"])

    def attack(self, image: Tensor, label: Tensor, id: Tensor) -> Outcome:
        """Return what becomes of N queries in every case at every Δ.

        Args:
            image: ``(N, 3, H, W)`` float32 in [0, 1].
            label: ``(N,)`` int64.
            id: ``(N,)`` int64.
        """
        clean = self.answer(image, image, label)
        cases = []
        for threat, attack in self.cases:
            attacked = attack(threat.attacked(self.classifier), image, label, id, self.deltas[1:])
            answers = [clean, *(self.answer(adversarial, image, label) for adversarial in attacked)]
            cases.append([torch.stack(parts) for parts in zip(*answers, strict=True)])  # (E, N, ...)
        return Outcome(*(torch.stack(parts) for parts in zip(*cases, strict=True)))  # (A, E, N, ...)

    def answer(self, adversarial: Tensor, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Let every defense answer.

        Args:
            adversarial: ``(N, 3, H, W)`` float32 in [0, 1], what the defenses see.
            image: ``(N, 3, H, W)``, what it was made from.
            label: ``(N,)`` int64.

        Returns:
            Hits ``(N, V, T)`` bool, and the realised Δ ``(N,)`` in pixels and in the classifier's normalised space.
        """
        query = self.query(adversarial)
        scores = torch.cat([defense(query) for defense in self.defenses])  # (V, N, C)
        normalise = self.classifier.normalise
        return (
            hits(scores, label, self.topk),
            normalized_l2(image, adversarial),
            normalized_l2(normalise(image), normalise(adversarial)),
        )

    def query(self, image: Tensor) -> Query:
        """Return a query of the defended classifier and its database for ``(N, 3, H, W)`` images."""
        return Query(image, self.classifier, self.database, self.needed)

    def on_test_epoch_end(self) -> None:
        """Prove that each query was seen exactly once, and merge the counts of all processes.

        Raises:
            AuditError: If a query was left out or seen twice.
        """
        if isinstance(self.trainer.limit_test_batches, float) and self.trainer.limit_test_batches == 1:
            self.audit.verify(self.data.expected_query_ids())
        self.results = self.accuracy.rows()
