"""The database of a defense: how it is built, and what a query may ask of it once it is opened."""

from .database import Database
from .gallery import Gallery
from .joined_taps import features_of, joined, joined_among, parts_of, read_at, side_by_side
from .patches import PatchDatabase
from .resource import Resource
from .row_counts import require_row_count, row_count
from .stored_gallery import StoredGallery

__all__ = [
    "Database",
    "Gallery",
    "PatchDatabase",
    "Resource",
    "StoredGallery",
    "features_of",
    "joined",
    "joined_among",
    "parts_of",
    "read_at",
    "require_row_count",
    "row_count",
    "side_by_side",
]
