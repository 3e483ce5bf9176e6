"""The database of a defense: how it is built, and what a query may ask of it once it is opened."""

from .database import Database
from .gallery import Gallery
from .resource import Resource
from .stored_gallery import StoredGallery

__all__ = ["Database", "Gallery", "Resource", "StoredGallery"]
