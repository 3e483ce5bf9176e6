"""What a defense looks at besides the rows of the store: built once from the database, sealed, and opened by each test.

folder/resources/<name>/             files of the resource's own
folder/resources/<name>/sealed.json  what they were made from, and a checksum of each; written last
"""

from __future__ import annotations

import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from lit_knn.errors import UserError
from lit_knn.storage.atomic import remove_abandoned, unfinished_name, writing
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint, digest, fingerprint_difference, from_text, to_text
from lit_knn.storage.reading import undamaged

if TYPE_CHECKING:
    from lit_knn.backbones import Classifier
    from lit_knn.database.stored_gallery import StoredGallery

SEALED = "sealed.json"
REMEDY = "run `lit-knn index` again"
REPLACES = "which replaces it, or name another model.database.path"


class Resource(ABC):
    """Patches of images, calibration data, trained weights: a variant says how they are written and read.

    Attributes:
        name: Of its folder.
        taps: Where it is looked for neighbors while it is written; None for all, so that it is made from every index.
    """

    name: str
    taps: Sequence[str] | None = None
    _content: str = ""  # a hash of what has been opened

    @property
    def size_on_disk(self) -> int:
        """About how many bytes its files take, for forecasts; 0 where that is next to nothing."""
        return 0

    @abstractmethod
    def settings(self) -> Any:
        """Return, as JSON has it, what its content depends on besides the database."""

    @abstractmethod
    def write(self, folder: Path, classifier: Classifier, gallery: StoredGallery) -> None:
        """Write files, of one process.

        Args:
            folder: An empty one.
            classifier: The defended one, on the CPU.
            gallery: The opened database in its largest size; its ``data`` gives the images.
        """

    @abstractmethod
    def read(self, folder: Path) -> None:
        """Hold what `write` has written; called by each process of a test before anything is attacked."""

    @final
    def identity(self) -> Fingerprint:
        """Return the settings and, once opened, the content, which results depend on."""
        return {"settings": self.settings(), "content": self._content}

    @final
    def build(self, folder: Path, classifier: Classifier, gallery: StoredGallery) -> None:
        """Write it and seal it, all of it or nothing; whatever is in the folder gives way.

        Raises:
            WriteError: If the system does not let it be written.
        """
        unfinished = unfinished_name(folder)
        with writing(folder):
            unfinished.mkdir(parents=True)
            remove_abandoned(folder.parent)
            try:
                self.write(unfinished, classifier, gallery)
                sealed = {"made from": self._origin(gallery), "files": _checksums(unfinished)}
                (unfinished / SEALED).write_text(to_text(sealed))
                if folder.exists():
                    shutil.rmtree(folder)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)

    @final
    def is_sealed(self, folder: Path) -> bool:
        """Return whether the folder holds one that was finished, whatever it was made from."""
        return (folder / SEALED).exists()

    @final
    def fault(self, folder: Path, gallery: StoredGallery) -> str:
        """Return what keeps a test from opening the folder, in words; "" if it was made from this database."""
        try:
            self._check(folder, gallery)
        except UserError as error:
            return str(error).partition(f"; {REMEDY}")[0]
        return ""

    @final
    def open(self, folder: Path, gallery: StoredGallery) -> None:
        """Read it, once every byte is known to be what was sealed, and made from this database.

        Raises:
            UserError: If it is missing, damaged or of another origin.
        """
        self._content = digest(self._check(folder, gallery)["files"])
        with undamaged(self._called(folder), REMEDY):
            self.read(folder)

    def _called(self, folder: Path) -> str:
        return f"resource {self.name} in {folder}"

    def _origin(self, gallery: StoredGallery) -> Fingerprint:
        searched = {tap: index for tap, index in gallery.indexes.items() if self.taps is None or tap in self.taps}
        made_from = {**gallery.store.fingerprint, **gallery.identity(), "index": describe(searched)}
        return {"resource": describe([type(self), self.settings()]), **made_from}

    def _check(self, folder: Path, gallery: StoredGallery) -> Fingerprint:
        with undamaged(self._called(folder), REMEDY):
            sealed = from_text((folder / SEALED).read_bytes())
            if changed := list(changed_files(folder, sealed)):
                raise ValueError(f"{changed[0]} has changed")
        if difference := fingerprint_difference(self._origin(gallery), sealed["made from"]):
            raise UserError(f"{self._called(folder)} is of another origin: {difference}; {REMEDY}, {REPLACES}")
        return sealed


def resource_findings(folder: Path) -> Iterator[str]:
    """Yield a sentence for each resource in a folder of them that is not what was sealed."""
    for place in sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")):
        try:
            with undamaged(f"resource {place.name} in {place}", REMEDY):
                if changed := list(changed_files(place, from_text((place / SEALED).read_bytes()))):
                    raise ValueError(f"{', '.join(changed)} changed")
        except UserError as error:
            yield str(error)


def changed_files(folder: Path, sealed: Fingerprint) -> Iterator[str]:
    """Yield the name of each file that is missing, new, or another one than was sealed."""
    files, there = sealed["files"], _checksums(folder)
    yield from (name for name in sorted({*files, *there}) if files.get(name) != there.get(name))


def _checksums(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SEALED:
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
