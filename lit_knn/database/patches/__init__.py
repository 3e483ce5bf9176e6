"""Small squares of the database's images, and the search for the most similar ones."""

from .patch_database import PatchDatabase

__all__ = ["PatchDatabase"]
