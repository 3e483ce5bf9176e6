"""What the defended classifier makes of attacked images, kept over runs: no batch is attacked twice at the same Δ.

x* depends on attack, attacked network and queries, not on the defense's database, so another database, K or weighting
costs a search and no attack. Kept are logits and pooled activations *before* PCA: projected features would belong to
one database only, as each has a PCA of its own.

folder/<hash>/origin.json                        one case (threat and attack): what x* and its activations depend on
folder/<hash>/delta-0.05/<first id>-<hash>.h5    one batch at one Δ, sealed (see :mod:`lit_knn.evaluation.cache.batch`)

:mod:`lit_knn.evaluation.sample_results` is downstream of it: what one run has counted, in the run's own folder and of no use to others.
"""

from .adversarial import AdversarialCache
from .batch import batch_digest
from .case import Attacked, CachedCase
from .looked_up import LookedUp

__all__ = ["AdversarialCache", "Attacked", "CachedCase", "LookedUp", "batch_digest"]
