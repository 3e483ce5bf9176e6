"""Features of queries to the ids of the nearest rows."""

from .base import Index, Neighbors, nearest
from .binary import Binary
from .factory import Faiss
from .milvus import Milvus
from .scan import Running, Scan
from .selection import Selection, rings
from .sharded import Sharded

__all__ = [
    "Binary",
    "Faiss",
    "Index",
    "Milvus",
    "Neighbors",
    "Running",
    "Scan",
    "Selection",
    "Sharded",
    "nearest",
    "rings",
]
