"""PCA: an eigendecomposition of the moments of a stream of features."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from lit_knn.backbones.moments import Moments
from lit_knn.errors import UserError
from lit_knn.fingerprint import Fingerprint, fingerprint_difference
from lit_knn.sealing import sealed

FULL_DECOMPOSITION = 4096  # dimensions up to which `eigh` takes seconds


class Projection(nn.Module):
    """Principal components: ``(x − mean) · componentsᵀ``.

    Args:
        mean: ``(D,)`` float32.
        components: ``(d, D)`` float32, orthonormal rows, by falling variance.
        variances: ``(d,)`` float32, in squared units of the features.
        rows: How many rows they were fitted on.

    References:
        Dubey et al. 2019, Appendix B.
    Differences from the paper:
        The exact decomposition of the streamed covariance instead of an online approximation.
    """

    PARTS = ("mean", "components", "variances")

    def __init__(self, mean: Tensor, components: Tensor, variances: Tensor, rows: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.components: Tensor
        self.variances: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)
        self.register_buffer("variances", variances)
        self.rows = rows

    @classmethod
    def fit(cls, moments: Moments, dimension: int) -> Projection:
        """Keep the ``dimension`` directions of largest variance, or all where there are fewer.

        Each component's sign makes its largest entry positive, so that a refit gives the same features.
        """
        mean = moments.mean()
        dimension = min(dimension, len(mean))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # LAPACK rounds otherwise with another number of them
        try:
            variances, vectors = _leading(moments, dimension)
        finally:
            torch.set_num_threads(threads)
        largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))  # (1, d)
        components = (vectors * torch.where(largest < 0, -1.0, 1.0)).T.contiguous()  # (d, D)
        return cls(
            mean.float().cpu(), components.float().cpu(), variances.clamp(min=0).float().cpu(), int(moments.rows)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Project ``(N, D)`` to ``(N, d)``, in the dtype of ``features``."""
        return (features - self.mean.to(features)) @ self.components.T.to(features)

    def fingerprint(self) -> str:
        """Return a hash of mean and components: equal projections, equal string."""
        digest = hashlib.sha256()
        for value in (self.mean, self.components):
            digest.update(value.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path, origin: Fingerprint) -> None:
        """Write a sealed HDF5 file; another process sees all of it or nothing.

        Args:
            path: Replaced if it exists.
            origin: What the features depend on: classifier, tap, data set, preprocessing.
        """
        with sealed(path) as unfinished, h5py.File(unfinished, "w") as file:
            for name in self.PARTS:
                file.create_dataset(name, data=getattr(self, name).cpu().numpy())
            file.attrs["rows"] = self.rows
            file.attrs["origin"] = json.dumps(origin)

    @classmethod
    def load(cls, path: Path, origin: Fingerprint) -> Projection:
        """Read what `save` wrote.

        Args:
            path: Of the file.
            origin: What the features must depend on.

        Raises:
            UserError: If the file is missing, damaged, or of another origin.
        """
        if not path.is_file():
            raise UserError(f"projection {path} does not exist; run `lit-knn extract` with this configuration")
        try:
            with h5py.File(path, "r", locking=False) as file:
                parts = {name: torch.from_numpy(np.asarray(file[name])) for name in cls.PARTS}
                rows, found = int(file.attrs["rows"]), json.loads(file.attrs["origin"])
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"projection {path} is damaged ({error}); delete it and run `lit-knn extract`") from error
        if difference := fingerprint_difference(origin, found):
            raise UserError(f"projection {path} is of another origin: {difference}; set another model.database.path")
        return cls(**parts, rows=rows)


def _leading(moments: Moments, dimension: int) -> tuple[Tensor, Tensor]:
    """Return the covariance's largest eigenvalues ``(d,)``, falling, and their vectors ``(D, d)``.

    Large matrices take a seeded subspace iteration, which needs no memory but for the basis, ``(D, d + 64)``.
    """
    size = len(moments.total)
    if size <= FULL_DECOMPOSITION or dimension * 4 > size:
        values, vectors = torch.linalg.eigh(moments.covariance())
        return values.flip(0)[:dimension], vectors.flip(1)[:, :dimension]
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(size, dimension + 64, generator=generator, dtype=torch.float64).to(moments.total)
    for _ in range(16):
        basis = torch.linalg.qr(moments.covariance_times(basis)).Q  # (D, d + 64)
    values, vectors = torch.linalg.eigh(basis.T @ moments.covariance_times(basis))
    return values.flip(0)[:dimension], (basis @ vectors).flip(1)[:, :dimension]
