"""Which rows of the database are nearest: features in, ids and distances out."""

from .base import Index, Neighbors
from .factory import Faiss
from .selection import Selection

__all__ = ["Faiss", "Index", "Neighbors", "Selection"]
