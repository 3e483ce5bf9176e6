"""Nearest-neighbour defenses against adversarial images, attacked and measured (Dubey et al., 2019).

    query image x, label y                                          lit_knn.data
      └─ attack under a threat, budget Δ            → x*            lit_knn.attacks, threat, perturbation
          └─ backbone: pre-ReLU tap, pooled, PCA    → g(x*)         lit_knn.backbones
              └─ index: K nearest rows              → ids           lit_knn.index
                  └─ store: softmax, weight of each → s_k, w_k      lit_knn.store
                      └─ vote                       → class scores  lit_knn.defenses
                          └─ accuracy against Δ     → record        lit_knn.metrics, callbacks, report

Wiring: lit_knn.database, extraction, evaluation, outcomes, trainer, wiring, cli.

Shape letters, everywhere: N queries, H×W pixels, D feature dimension, K neighbours, C classes, M database rows.
"""
