"""From images to a database: PCA, a sealed store, indexes; and whether all of it is still what was sealed."""

from .base import DatabasePass
from .extraction import Extraction, finish_store
from .fitting import Fitting, MomentFiles
from .indexing import IndexBuilder
from .taking import take_shards
from .verification import findings, verify

__all__ = [
    "DatabasePass",
    "Extraction",
    "Fitting",
    "IndexBuilder",
    "MomentFiles",
    "findings",
    "finish_store",
    "take_shards",
    "verify",
]
