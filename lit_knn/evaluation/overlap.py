"""Which queries are in the database themselves."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lit_knn.database import Gallery
from lit_knn.database.joined_taps import read_at
from lit_knn.defenses import Query

CANDIDATES = 8  # nearest rows that are looked at: the distances of a lossy index may put a copy behind others
CLOSE = 2.0**-8  # of a feature's length: float16 moves a copy by 2⁻¹², bfloat16 networks in other batches by 2⁻⁹
CODE = 64  # bits from which equal ones are hardly chance


@torch.no_grad()
def in_database(query: Query, taps: Iterable[str]) -> Tensor:
    """Return which of N images have a row of their own feature at a distance of about 0: ``(N,)`` bool.

    At each of the taps; bits decide only where there is nothing else, from 64 on, and if the row predicts the same: two
    images may well have the same few bits. The stored features decide, as distances near 0 are coarse.

    Args:
        query: Of N clean images.
        taps: At least one whose neighbors the query knows.
    """
    gallery = query.gallery
    floats = [tap for tap in taps if not _has_bits(gallery, tap)]
    found = torch.stack([_has_copy(query, gallery, tap) for tap in floats or taps])  # (taps, N)
    return found.all(dim=0)


def _has_bits(gallery: Gallery, tap: str) -> bool:
    return any(part.bits for part in read_at(gallery, [tap]))


def _has_copy(query: Query, gallery: Gallery, tap: str) -> Tensor:
    ids = query.neighbors(tap).ids[:, :CANDIDATES]  # (N, k)
    features = query.features(tap).float()  # (N, D)
    distance = (gallery.vectors(tap, ids) - features[:, None]).norm(dim=2)  # (N, k)
    copies: Tensor = distance <= CLOSE * features.norm(dim=1, keepdim=True)
    if _has_bits(gallery, tap):
        probability, label, _ = gallery.predictions(ids)  # (N, k, R)
        own = query.logits.softmax(dim=1)[:, None].expand(*ids.shape, -1)  # (N, k, C)
        own = own if label is None else own.gather(2, label)
        copies &= ((own - probability).abs().amax(dim=2) <= CLOSE) & (features.shape[1] >= CODE)
    return copies.any(dim=1)
