"""Nearest-neighbor defenses against adversarial images, attacked and measured (Dubey et al., 2019).

    query image x, label y                                          data
      └─ attack under a threat model, budget Δ      → x*            threat_models, attacks
          └─ backbone: pre-ReLU tap, pooled, PCA    → g(x*)         backbones
              └─ index: K nearest rows              → ids           database.index
                  └─ store: softmax, weight of each → s_k, w_k      database.store
                      └─ vote                       → class scores  defenses
                          └─ accuracy against Δ     → record        evaluation, report

An attack says how something is climbed, an objective what; a white-box attacker has a copy of the defense to look into.
The database is built by database.building, in parts of a job. Whether an evaluation can be believed is asked by
evaluation.checks. Around these: engine (Trainer, run folder, callbacks), cli, distributed, storage.

Shape letters, everywhere: N queries, H×W pixels, D feature dimension, K neighbors, C classes, M database rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lit_knn.notebook import evaluate as evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    if name == "evaluate":  # PyTorch is imported when somebody asks for it
        from lit_knn.notebook import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
