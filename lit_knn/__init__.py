"""Nearest-neighbour defenses against adversarial images, attacked and measured (Dubey et al., 2019).

    query image x, label y                                          lit_knn.data
      └─ attack under a threat, budget Δ            → x*            lit_knn.attacks, objectives, threat, perturbation
          └─ backbone: pre-ReLU tap, pooled, PCA    → g(x*)         lit_knn.backbones
              └─ index: K nearest rows              → ids           lit_knn.index
                  └─ store: softmax, weight of each → s_k, w_k      lit_knn.store
                      └─ vote                       → class scores  lit_knn.defenses
                          └─ accuracy against Δ     → record        lit_knn.metrics, callbacks, report

An attack says how something is climbed, an objective what; a white-box attacker has a copy of the defense to look into
(lit_knn.victim, replica, guides). Whether an evaluation can be believed is asked by lit_knn.checks.

The database is made by lit_knn.building, in parts of a job; where every search reads all of it, answers wait in
lit_knn.deferral.

Wiring: lit_knn.database, evaluation, cache, origins, outcomes, trainer, wiring, cli.

Shape letters, everywhere: N queries, H×W pixels, D feature dimension, K neighbours, C classes, M database rows.
"""
