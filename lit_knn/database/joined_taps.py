"""Taps side by side: one feature of several, whose squared distances add up.

Such a tap is named after its parts, ``layer2.8.add+layer3.8.add``, and is searched like any other. Each part is divided
by its length, the root mean square over the database (`lit_knn.backbones.Projection.scale`), so that two images that
have nothing to do with each other are equally far apart in each, and none drowns the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_knn.errors import UserError

if TYPE_CHECKING:
    from lit_knn.backbones import Tap
    from lit_knn.database.gallery import Gallery

SIGN = "+"


def joined(taps: Iterable[str]) -> str:
    """Return the name of taps side by side."""
    return SIGN.join(taps)


def parts_of(tap: str) -> list[str]:
    """Return the taps that one is made of: itself, if it is not joined."""
    return tap.split(SIGN)


def joined_among(taps: Iterable[str]) -> tuple[str, ...]:
    """Return those that are joined, each once.

    Raises:
        UserError: If a part is named twice.
    """
    found = tuple(tap for tap in dict.fromkeys(taps) if SIGN in tap)
    for tap in found:
        if len(set(parts_of(tap))) < len(parts_of(tap)):
            raise UserError(f"tap {tap!r} names a part twice: different taps of the database are accepted")
    return found


def read_at(gallery: Gallery, taps: Iterable[str]) -> list[Tap]:
    """Return where a network is read for the features of taps, each once.

    Raises:
        UserError: If the database has no tap of a name.
    """
    return [gallery.tap(part) for part in dict.fromkeys(part for tap in taps for part in parts_of(tap))]


def features_of(gallery: Gallery, tap: str, activations: Mapping[str, Tensor]) -> Tensor:
    """Return the features ``(N, D)`` of a tap, joined or not, in the dtype of the activations.

    Args:
        gallery: Projects.
        tap: Which.
        activations: ``(N, D')`` of each of its parts, pooled, before PCA.
    """
    names = parts_of(tap)
    projected = {name: gallery.project(name, activations[name]) for name in names}
    return projected[tap] if len(names) == 1 else side_by_side(gallery, projected)


def side_by_side(gallery: Gallery, features: Mapping[str, Tensor]) -> Tensor:
    """Return the joined feature ``(..., D)`` of those ``(..., d)`` of its parts, in their order."""
    return torch.cat([feature * gallery.factor(part) for part, feature in features.items()], dim=-1)
