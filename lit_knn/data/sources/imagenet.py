"""ImageNet as torchvision, Kaggle or Caffe lay it out."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from lit_knn.data.classes import Classes, Given, imagenet
from lit_knn.data.sources.folder import ImageFolder
from lit_knn.data.sources.label_file import LabelFile
from lit_knn.errors import UserError

_DEVKIT = "ILSVRC2012_validation_ground_truth.txt"
_LABELS = (  # below root or above it, where what comes with the images is unpacked
    *("LOC_val_solution.csv", "../LOC_val_solution.csv", "../../../LOC_val_solution.csv"),
    *("val.txt", "caffe_ilsvrc12/val.txt"),
    *(_DEVKIT, f"ILSVRC2012_devkit_t12/data/{_DEVKIT}", f"devkit/data/{_DEVKIT}"),
)


class ImageNet(ImageFolder):
    """Read ImageNet (ILSVRC 2012): ``root/val/n01440764/*.JPEG``, all classes or some, or a flat ``val`` with labels.

    A class has the number of its WordNet id among all 1,000, also where only some are there, unless ``classes`` says
    otherwise. Labels of a flat ``val`` come from WordNet ids in the files' names, from Kaggle's
    ``LOC_val_solution.csv``, from Caffe's ``val.txt``, or from the devkit's
    ``ILSVRC2012_validation_ground_truth.txt`` with its ``meta.mat``.

    Args:
        root: Folder that holds ``train`` and ``val``.
        split: Which of them is read, ``train`` or ``val``.
        classes: Classes of a network that has others than ImageNet's 1,000, given as to `ImageFolder`.
        labels: File of labels for a flat folder; by default it is looked for in root, where Kaggle has it, and in the
            devkit.
        shard_size: Images per shard, in sorted order; the unit of resuming an extraction.

    References:
        Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015, https://arxiv.org/abs/1409.0575
    """

    labels_from = (
        "give it folders like n01440764, or `labels:` LOC_val_solution.csv, val.txt or the devkit's "
        "ILSVRC2012_validation_ground_truth.txt"
    )

    def __init__(
        self,
        root: str | Path,
        *,
        split: Literal["train", "val"],
        classes: Given | None = None,
        labels: str | Path | None = None,
        shard_size: int = 10_000,
    ) -> None:
        if split not in ("train", "val"):
            raise UserError(f"ImageNet has no split {split!r}: accepted are train and val")
        super().__init__(root=Path(root) / split, classes=classes, labels=labels, shard_size=shard_size)
        self.split = split

    @property
    def known_classes(self) -> Classes:
        """Those that the configuration says, or the 1,000."""
        return super().known_classes or imagenet()

    @cached_property
    def label_file(self) -> LabelFile | None:
        """The file that the configuration says, or the first that is found beside a flat ``val``."""
        if self.labels is not None or self.folders or self.split != "val":
            return super().label_file
        found = [self.root.parent / name for name in _LABELS if (self.root.parent / name).is_file()]
        return LabelFile(found[0]) if found else None
