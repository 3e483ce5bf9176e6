"""A whole source in memory, for notebooks and programs that want tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.data.base import ImageSource
from lit_knn.data.datamodule import ImageData
from lit_knn.data.preprocessing import Preprocessing
from lit_knn.errors import UserError


def tensors(source: ImageSource, preprocessing: Preprocessing | None = None) -> tuple[Tensor, Tensor]:
    """Read all images of a source, such as ``tensors(Digits(split="test"))``.

    Args:
        source: Where each image has a label.
        preprocessing: What brings them to one size; None where they have it.

    Returns:
        Images ``(N, 3, H, W)``, uint8 or float32 in [0, 1] as the source has them, and labels ``(N,)`` int64.

    Raises:
        UserError: If one cannot be read or has no label, there is none, or they differ in size or dtype.
    """
    data = ImageData(queries=source, preprocessing=preprocessing)
    data.black_queries = True
    batches = list(data.test_dataloader())
    kinds = {(batch["image"].dtype, batch["image"].shape[1:]) for batch in batches}
    if len(kinds) > 1:
        found = " and ".join(f"{dtype} {tuple(shape)}" for dtype, shape in sorted(kinds, key=str))
        raise UserError(f"images of {type(source).__name__} are {found}: give a preprocessing, resize and crop")
    image, label = (torch.cat([batch[name] for batch in batches]) for name in ("image", "label"))
    return image, label
