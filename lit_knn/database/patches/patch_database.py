"""Patches of the database's images, for defenses that put an image together from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_knn.database.patches.drawing import draw_patches
from lit_knn.database.patches.search import VectorSearch, build_search, open_search
from lit_knn.database.resource import Resource
from lit_knn.errors import UserError

if TYPE_CHECKING:
    from lit_knn.backbones import Classifier
    from lit_knn.database.stored_gallery import StoredGallery

FILE = "patches.npy"


@final  # and so YAML names its arguments without a class path
class PatchDatabase(Resource):
    """Patches drawn over all rows, built by ``lit-knn index`` and searched by Euclidean distance.

    A patch of 5×5 pixels takes 300 bytes, and about as many in the index; both are mapped, and so shared by processes.

    Args:
        count: Number of patches.
        size: Their side S, in pixels.
        per_image: Patches of an image: so ``count / per_image`` images are read, drawn at random from all rows. With
            fewer rows there are more patches of each.
        index: How they are searched: ``Flat`` compares all, exactly; or any of FAISS's factory strings, such as
            ``IVF4096,Flat``. ``auto`` is exact up to 20,000 patches, and IVF beyond.
        recall: Share of the 10 nearest patches that an IVF index is to find: as many lists are read.
        seed: Of images, places and training.
        name: Of its folder; databases that differ need different ones.

    Attributes:
        found: The recall that was measured when it was built; 1 where all patches are compared.

    References:
        Guo et al. 2018, Section 3.4: 10⁶ patches of 5×5 pixels of ImageNet's training images.

    Differences from the paper:
        The patches come from images of all classes, where the paper's code reads the first 20,000 files, which are
        sorted by class; they are searched as they are, where it searches 64 principal components by product codes.
    """

    taps = ()  # the indexes of rows have no part in it

    def __init__(
        self,
        *,
        count: int = 1_000_000,
        size: int = 5,
        per_image: int = 50,
        index: str = "auto",
        recall: float = 0.95,
        seed: int = 0,
        name: str = "patches",
    ) -> None:
        for what, value, least in (("count", count, 1), ("size", size, 2), ("per_image", per_image, 1)):
            if value < least:
                raise UserError(f"a patch database has {what}: {value}; {least} and more are accepted")
        if not 0 < recall <= 1 or seed < 0:
            raise UserError(
                f"a patch database has recall: {recall}, seed: {seed}; recall in (0, 1] and seeds from 0 are accepted"
            )
        if not name or name.startswith(".") or "/" in name:
            raise UserError(f"a patch database is called {name!r}, which is no name of a folder")
        self.count, self.size, self.per_image, self.index = count, size, per_image, index
        self.recall, self.seed, self.name, self.found = recall, seed, name, 1.0
        self._search: VectorSearch | None = None
        self._held: dict[torch.device, Tensor] = {}

    @property
    def size_on_disk(self) -> int:
        """In float32, and about as much in the index."""
        return 2 * 4 * 3 * self.size**2 * self.count

    def settings(self) -> dict[str, Any]:
        """All arguments but the name."""
        names = ("count", "size", "per_image", "index", "recall", "seed")
        return {name: getattr(self, name) for name in names}

    def write(self, folder: Path, classifier: Classifier, gallery: StoredGallery) -> None:
        """Draw the patches, and index them."""
        del classifier
        patches = draw_patches(gallery, count=self.count, size=self.size, per_image=self.per_image, seed=self.seed)
        np.save(folder / FILE, patches)
        build_search(patches, folder, factory=self.index, recall=self.recall, seed=self.seed)

    def read(self, folder: Path) -> None:
        """Map the patches, and open the index: on a GPU where FAISS sees one."""
        patches = torch.from_numpy(np.load(folder / FILE, mmap_mode="c", allow_pickle=False))  # never written to
        self._hold(patches, *open_search(patches, folder))

    def hold(self, patches: npt.NDArray[np.float32]) -> None:
        """Take patches ``(M, 3·S·S)`` from elsewhere, channels first, in [0, 1]; they are searched exactly."""
        vectors = torch.from_numpy(patches)
        self._hold(vectors, VectorSearch(vectors), 1.0)

    def _hold(self, patches: Tensor, search: VectorSearch, found: float) -> None:
        if patches.shape != (self.count, 3 * self.size**2) or patches.dtype != torch.float32:
            raise ValueError(f"patches are {patches.dtype} {tuple(patches.shape)}")
        self._search, self.found, self._held = search, found, {patches.device: patches}

    def nearest(self, patches: Tensor, k: int) -> Tensor:
        """Return the k most similar patches of each, ``(N, L, k)`` int64, where they lie.

        There is one search for each image, since a product of matrices may round otherwise for other numbers of rows:
        so batches make no difference.

        Args:
            patches: ``(N, L, 3·S·S)`` float, L patches of each of N images.
            k: From 1 to ``count``.

        Raises:
            UserError: If the database has not been opened.
        """
        if self._search is None:
            raise UserError(f"patch database {self.name} is searched before it was opened: run `lit-knn index`")
        return torch.stack([self._search.nearest(image, k).ids for image in patches])

    def vectors(self, ids: Tensor) -> Tensor:
        """Return patches ``(..., 3·S·S)`` float32 in [0, 1] of ids of any shape, where these lie; a GPU holds all."""
        if ids.device not in self._held:
            self._held[ids.device] = next(iter(self._held.values())).to(ids.device)
        return self._held[ids.device][ids]
