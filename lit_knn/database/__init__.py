"""The database of a defense: how it is built, and what a query may ask of it once it is opened."""

from .base import Gallery
from .database import Database
from .overlap import in_database
from .stored import StoredGallery

__all__ = ["Database", "Gallery", "StoredGallery", "in_database"]
