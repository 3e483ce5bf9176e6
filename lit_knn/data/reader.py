"""Random access to the images of a source."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lit_knn.data.base import Sample, Shard, ShardedImages
from lit_knn.data.decoding import ImageError
from lit_knn.data.pixels import pixels
from lit_knn.data.preprocessing import Preprocessing
from lit_knn.errors import UserError

OPEN_SHARDS = 4  # a worker is never more than a few batches away from its neighbors


class Reader:
    """Random access to the images of a source; holds the listings of the last few shards.

    Args:
        source: Where images come from.
        preprocessing: What is done to each; None leaves them as they are.
    """

    def __init__(self, source: ShardedImages, preprocessing: Preprocessing | None) -> None:
        self._source, self._preprocessing = source, preprocessing
        self._open: dict[int, Shard] = {}
        self.labels_from = source.labels_from

    def shard(self, index: int) -> Shard:
        """Return a shard, opened if it is not open.

        Raises:
            UserError: If it is missing or damaged.
        """
        if index not in self._open:
            self._open[index] = self._source.open_shard(index)
            if len(self._open) > OPEN_SHARDS:
                del self._open[next(iter(self._open))]
        return self._open[index]

    def read(self, shard: int, row: int) -> tuple[Sample, Tensor]:
        """Return one sample and its pixels ``(3, h, w)``, uint8 or float32 in [0, 1], decoded and preprocessed.

        Raises:
            ImageError: If it cannot be read.
            UserError: If the source gives something else than images.
        """
        sample = self.shard(shard).read(row)
        image = pixels(
            sample.image, f"{sample.key} of shard {self.shard(shard).name}, which {type(self._source).__name__} gives,"
        )
        if self._preprocessing is not None:
            image = self._preprocessing(image)
        return sample, image.contiguous()

    def image(self, shard: int, row: int) -> Tensor:
        """Return the pixels of one sample, see `read`.

        Raises:
            UserError: If it cannot be read.
        """
        try:
            return self.read(shard, row)[1]
        except ImageError as error:
            raise UserError(f"{self.shard(shard).keys()[row]} of shard {self.shard(shard).name}: {error}") from error

    def images(self, shards: Sequence[int], rows: Sequence[int]) -> list[Tensor]:
        """Return those of several, read shard by shard: to open one may take as long as to read all of it.

        Raises:
            UserError: If one cannot be read.
        """
        places = list(zip(shards, rows, strict=True))
        found = {place: self.image(*place) for place in sorted(set(places))}
        return [found[place] for place in places]
