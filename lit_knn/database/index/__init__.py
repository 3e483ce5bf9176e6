"""Features of queries to the ids of the nearest rows."""

from .base import Index
from .binary import Binary
from .exact import Running
from .factory import Faiss
from .milvus import Milvus
from .neighbors import Neighbors, nearest
from .opened import OpenIndex, Searcher
from .resident import Resident
from .scan import Scan
from .selection import Selection, increments
from .sharded import Sharded

__all__ = [
    "Binary",
    "Faiss",
    "Index",
    "Milvus",
    "Neighbors",
    "OpenIndex",
    "Resident",
    "Running",
    "Scan",
    "Searcher",
    "Selection",
    "Sharded",
    "increments",
    "nearest",
]
