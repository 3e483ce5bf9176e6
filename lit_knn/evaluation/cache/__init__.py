"""What the defended classifier makes of clean and attacked images: the one store of a test, over runs if it is shared.

x* depends on attack, attacked network and queries, not on the defense's database, so another database, K or weighting
costs a search and no attack. Kept are logits and pooled activations *before* PCA, as each database has a PCA of its
own, and the answers of defenses that look at the image. One rule says what is known: a file that has the wanted columns
under the right key.

    folder/<hash>/origin.json                        one case (threat and attack, or clean): what its columns depend on
    folder/<hash>/delta-0.05/<first id>-<hash>.h5    one batch at one Δ, sealed
"""

from .activation_cache import ActivationCache
from .batch import TOLD, BatchFile, BatchKey, Columns
from .case import CachedCase

__all__ = ["TOLD", "ActivationCache", "BatchFile", "BatchKey", "CachedCase", "Columns"]
