"""ImageNet as torchvision lays it out."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Literal

from lit_knn.data.folder import ImageFolder
from lit_knn.errors import UserError


class ImageNet(ImageFolder):
    """ILSVRC 2012: ``root/val/n01440764/*.JPEG`` and so on; classes are numbered in the order of their WordNet ids.

    Args:
        root: The folder that holds ``train`` and ``val``.
        split: ``train`` or ``val``.
        shard_size: Images per shard, in sorted order; the unit of resuming an extraction.

    References:
        Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015, https://arxiv.org/abs/1409.0575
    """

    def __init__(self, *, root: str | Path, split: Literal["train", "val"], shard_size: int = 10_000) -> None:
        if split not in ("train", "val"):
            raise UserError(f"ImageNet has no split {split!r}: accepted are train and val")
        super().__init__(root=Path(root) / split, shard_size=shard_size)

    @cached_property
    def folders(self) -> list[str]:
        """The WordNet ids, sorted.

        Raises:
            UserError: If there are not 1,000 of them: with fewer, labels would silently mean other classes.
        """
        folders = super().folders
        wnids = [folder for folder in folders if re.fullmatch(r"n\d{8}", folder)]
        if len(folders) != 1000 or len(wnids) != 1000:
            raise UserError(
                f"{self.root} holds {len(folders)} folders, {len(wnids)} of them named like n01440764: ImageNet needs "
                "all 1,000 classes (empty folders are fine), and ImageFolder takes any others"
            )
        return wnids
