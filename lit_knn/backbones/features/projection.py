"""PCA: an eigendecomposition of the moments of a stream of features."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from lit_knn.backbones.features.moments import Moments
from lit_knn.errors import UserError
from lit_knn.storage.atomic import atomic_write
from lit_knn.storage.fingerprint import Fingerprint, fingerprint_difference, from_text, to_text
from lit_knn.storage.reading import undamaged

FULL_DECOMPOSITION = 4096  # dimensions up to which `eigh` takes seconds


def signs(features: Tensor) -> Tensor:
    """Return −1 below 0 and 1 elsewhere, in the dtype of the features, with the gradient of the identity.

    The sign itself has none, and would hide a database of bits from any white-box attack.

    References:
        Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons", Section 4
        (straight-through estimator); Athalye et al. 2018, Section 4.1 (BPDA).
    """
    # The difference is 0 and carries the gradient; it is NaN for features that are no numbers, so that nobody takes
    # these for a sign.
    return torch.where(features < 0, -1.0, 1.0).to(features) + (features - features.detach())


class Projection(nn.Module):
    """Principal components: ``(x − mean) · componentsᵀ``, or the signs of these.

    Args:
        mean: ``(D,)`` float32.
        components: ``(d, D)`` float32, orthonormal rows, by falling variance.
        variances: ``(d,)`` float32, in squared units of the features.
        rows: How many rows they were fitted on.
        bits: Whether only signs are kept.

    References:
        Dubey et al. 2019, Appendix B.
    Differences from the paper:
        The exact decomposition of the streamed covariance instead of an online approximation.
    """

    PARTS = ("mean", "components", "variances")

    def __init__(self, mean: Tensor, components: Tensor, variances: Tensor, rows: int, *, bits: bool = False) -> None:
        super().__init__()
        self.mean: Tensor
        self.components: Tensor
        self.variances: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)
        self.register_buffer("variances", variances)
        self.rows, self.bits = rows, bits

    @classmethod
    def fit(cls, moments: Moments, dimension: int, *, bits: bool = False) -> Projection:
        """Keep the ``dimension`` directions of largest variance, or all where there are fewer.

        Each component's sign makes its largest entry positive, so that a refit gives the same features.

        Raises:
            UserError: If there are too few or too many rows, or bits would not fill whole bytes.
        """
        mean = moments.mean()
        dimension = min(dimension, len(mean))
        if bits and dimension % 8:
            raise UserError(
                f"a tap with bits has {dimension} of them, as many as its layer has dimensions; multiples of 8 are "
                "accepted"
            )
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # LAPACK rounds otherwise with another number of them
        try:
            variances, vectors = _leading(moments, dimension)
        finally:
            torch.set_num_threads(threads)
        largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))  # (1, d)
        components = (vectors * torch.where(largest < 0, -1.0, 1.0)).T.contiguous()  # (d, D)
        parts = {"mean": mean, "components": components, "variances": variances.clamp(min=0)}
        return cls(**{name: part.float().cpu() for name, part in parts.items()}, rows=int(moments.rows), bits=bits)

    def forward(self, features: Tensor) -> Tensor:
        """Project ``(N, D)`` to ``(N, d)``, in the dtype of ``features``; with bits, to −1 and 1 (see `signs`)."""
        projected = (features - self.mean.to(features)) @ self.components.T.to(features)
        return signs(projected) if self.bits else projected

    def inverse(self, projected: Tensor) -> Tensor:
        """Return the features ``(..., D)`` that projected ones ``(..., d)`` are of, with the mean of what was left out.

        Raises:
            UserError: If only signs are kept.
        """
        if self.bits:
            raise UserError("features of a tap with bits: true are signs, of which no activation can be made again")
        return projected @ self.components.to(projected) + self.mean.to(projected)

    @property
    def scale(self) -> float:
        """Root mean square of the length of the features of the rows that it was fitted on; 1 where all are 0."""
        if self.bits:
            return math.sqrt(len(self.components))
        return math.sqrt(float(self.variances.double().sum())) or 1.0

    def fingerprint(self) -> str:
        """Return a hash of mean, components and what is kept: equal projections, equal string."""
        digest = hashlib.sha256(b"bits" * self.bits)
        for value in (self.mean, self.components):
            digest.update(value.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path, origin: Fingerprint) -> None:
        """Write a sealed HDF5 file; another process sees all of it or nothing.

        Args:
            path: Replaced if it exists.
            origin: What the features depend on: classifier, tap, data set, preprocessing.
        """
        with atomic_write(path) as unfinished, h5py.File(unfinished, "w") as file:
            for name in self.PARTS:
                file.create_dataset(name, data=getattr(self, name).cpu().numpy(), fletcher32=True)
            file.attrs["rows"], file.attrs["bits"] = self.rows, self.bits
            file.attrs["origin"] = to_text(origin)

    @classmethod
    def load(cls, path: Path, origin: Fingerprint) -> Projection:
        """Read what `save` wrote.

        Args:
            path: Of the file.
            origin: What the features must depend on.

        Raises:
            DamageError: If the file is missing or damaged.
            UserError: If it is of another origin.
        """
        projection, found = cls.read(path)
        if difference := fingerprint_difference(origin, found):
            raise UserError(f"projection {path} is of another origin: {difference}; set another model.database.path")
        return projection

    @classmethod
    def read(cls, path: Path) -> tuple[Projection, Fingerprint]:
        """Return a projection, and what its features depend on.

        Raises:
            DamageError: If the file is missing or damaged.
        """
        remedy = "run `lit-knn extract` with this configuration"
        with undamaged(f"projection {path}", remedy), h5py.File(path, "r", locking=False) as file:
            parts = {name: torch.from_numpy(np.asarray(file[name])) for name in cls.PARTS}
            mean, components, variances = parts.values()
            if (variances.shape, mean.shape) != (components.shape[:1], components.shape[1:]):
                raise ValueError(f"shapes {', '.join(str(tuple(part.shape)) for part in parts.values())}")
            if not all(part.dtype == torch.float32 and part.isfinite().all() for part in parts.values()):
                raise ValueError("numbers that are not finite float32")
            found = from_text(file.attrs["origin"])
            return cls(**parts, rows=int(file.attrs["rows"]), bits=bool(file.attrs["bits"])), found


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
