"""Rows made by hand, and the digits with their database."""

from types import SimpleNamespace

import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.defenses import KNN, NoDefense
from lit_knn.evaluation.checks import Evidence
from lit_knn.evaluation.module import Evaluation
from lit_knn.report.results import Variant
from lit_knn.report.results.intervals import wilson
from lit_knn.threat_models import GrayBox

NONE = Variant("none")
EARLY, LATE = (Variant("kNN", tap, 5, "CBW-D", "soft", 1297) for tap in ("early", "late"))
NOTHING = torch.empty(0)


def rows(accuracies, *, n=500, attack="PGD", threat="gray_box", variant=NONE, topk=1, norm="relative_l2"):
    """Return the rows of one curve, ``{Δ: accuracy}``."""
    made = []
    for delta, accuracy in accuracies.items():
        low, high = wilson(round(accuracy * n), n)
        row = {"threat": threat, "attack": attack, "norm": norm, "delta": delta}
        row |= variant._asdict()
        row |= {"topk": topk, "correct": round(accuracy * n), "n": n, "accuracy": round(accuracy * n) / n}
        row |= {"low": low.item(), "high": high.item()}
        made.append(row | {"delta_mean": delta, "delta_max": delta, "normalized_delta_mean": delta})
    return made


def evidence(rows, *, attacks=None, threats=None, cascade=False):
    """Return what a check of results looks at."""
    return Evidence(
        rows,
        SimpleNamespace(attacks=attacks or [PGD()], threats=threats or [GrayBox()], cascade=cascade),
        *(NOTHING, NOTHING, NOTHING),
    )


@pytest.fixture
def attacked(classifier, database, gallery, data):
    """Return the first digits and an evaluation of attacks on them, which has not been run."""
    batch = data.on_after_batch_transfer(data.first_queries())

    def build(attacks, threats=None, deltas=(0.05, 0.1, 0.15), images=8, taps=("late",), norm="relative_l2"):
        evaluation = Evaluation(
            classifier=classifier,
            attacks=attacks,
            deltas=list(deltas),
            defenses=[NoDefense(), KNN(taps=list(taps), k=[5])],
            threats=threats,
            database=database,
            norm=norm,
        )
        evaluation.views = [gallery]
        return Evidence([], evaluation, *(batch[name][:images] for name in ("image", "label", "id")))

    return build
