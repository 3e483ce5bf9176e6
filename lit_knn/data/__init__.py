"""Images in: sources list and read samples, the data module turns them into exact batches."""

from .base import Batch, Failure, ImageSource, Sample, Shard
from .batches import BatchLoader
from .datamodule import ImageData
from .decoding import ImageError, decode
from .in_memory import tensors
from .preprocessing import Preprocessing
from .sources.arrays import Arrays
from .sources.cifar10 import CIFAR10
from .sources.digits import Digits
from .sources.folder import ImageFolder
from .sources.imagenet import ImageNet
from .sources.tar_shards import TarShards
from .sources.yfcc100m import YFCC100M

__all__ = (
    "CIFAR10",
    "YFCC100M",
    "Arrays",
    "Batch",
    "BatchLoader",
    "Digits",
    "Failure",
    "ImageData",
    "ImageError",
    "ImageFolder",
    "ImageNet",
    "ImageSource",
    "Preprocessing",
    "Sample",
    "Shard",
    "TarShards",
    "decode",
    "tensors",
)
