"""Images in: sources list and read samples, the data module turns them into exact batches."""

from .arrays import Arrays
from .base import Batch, Failure, ImageSource, Sample, Shard
from .batches import BatchLoader
from .cifar10 import CIFAR10
from .datamodule import ImageData
from .decoding import ImageError, decode
from .digits import Digits
from .folder import ImageFolder
from .imagenet import ImageNet
from .preprocessing import Preprocessing
from .shards import TarShards
from .yfcc100m import YFCC100M

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
)
