"""What quilting costs beside FAISS's bare search of its patches, target ≤ 1.3, and where the time goes.

    OMP_NUM_THREADS=1 python tools/bench_quilting.py --clock cpu --database FOLDER --queries FOLDER

Patches are drawn from the images of one folder, those of another are quilted. Without folders both are two photographs
that scikit-learn carries, mirrored along the diagonal for the queries. The base reads the same index, and as many of
its lists, and is given all patches at once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from bench import Line, Target, in_turn, parser, report
from sklearn.datasets import load_sample_images
from torch import Tensor

from lit_knn.data import ImageData, ImageFolder
from lit_knn.data.pixels import unit
from lit_knn.database import PatchDatabase
from lit_knn.database.index.faiss_library import read_index
from lit_knn.database.patches.search import FILE, MEASURED, VectorSearch, open_search
from lit_knn.defenses import Quilting
from lit_knn.defenses.transformations.quilting import starts
from lit_knn.defenses.transformations.seams import joined
from lit_knn.randomness import Randomness

SAMPLE = 300  # patches of the queries of which recall is measured as well


class Photographs:
    """All that drawing asks of a database: images of a folder, or the two that scikit-learn carries."""

    def __init__(self, folder: Path | None) -> None:
        self._data = ImageData(queries=ImageFolder(root=folder)) if folder else None
        carried = [] if folder else load_sample_images().images
        self._photographs = [unit(torch.from_numpy(image.copy())).permute(2, 0, 1) for image in carried]
        source = self._data.queries if self._data else None
        shards = range(len(source.shard_names())) if source else []
        self._places = [(shard, row) for shard in shards for row in range(len(source.open_shard(shard)))]
        self.ids = torch.arange(len(self))

    def __len__(self) -> int:
        return len(self._places) or len(self._photographs)

    def images(self, ids: Tensor) -> Tensor:
        """Return one image ``(1, 1, 3, H, W)``."""
        row = int(ids)
        image = unit(self._data.image("queries", *self._places[row])) if self._data else self._photographs[row]
        return image[None, None]


def build(options: argparse.Namespace, folder: Path) -> PatchDatabase:
    """Draw patches, index them in a folder, and open both."""
    database = PatchDatabase(count=options.count, per_image=options.per_image, index=options.index)
    database.write(folder, None, Photographs(options.database))
    database.read(folder)
    return database


def queries(options: argparse.Namespace) -> Tensor:
    """Return the images that are quilted, ``(N, 3, H, W)``."""
    photographs = Photographs(options.queries)
    rows = torch.linspace(0, len(photographs) - 1, options.batch).long()
    if options.queries:
        return torch.cat([photographs.images(row)[0] for row in rows])
    corners = torch.arange(options.batch) % 150
    images = [photographs.images(row)[0, 0].transpose(1, 2) for row in rows]
    return torch.stack([i[:, c : c + options.size, c : c + options.size] for i, c in zip(images, corners, strict=True)])


def recall(database: PatchDatabase, folder: Path, patches: Tensor) -> float:
    """Return which share of the 10 nearest of some patches ``(P, D)`` is found; distances count."""
    held = database.vectors(torch.arange(database.count))
    some = patches[torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))[:SAMPLE]]
    truth, found = (search.nearest(some, 10) for search in (VectorSearch(held), open_search(held, folder)[0]))
    return float((found.distances <= truth.distances[:, -1:] * (1 + 1e-5)).double().mean())


def main(args: list[str] | None = None) -> None:
    """Measure and print: the whole, its search, and its seams."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--database", type=Path, help="folder of images that patches are drawn from")
    options.add_argument("--queries", type=Path, help="folder of images that are quilted")
    options.add_argument("--count", type=int, default=200_000, help="of patches")
    options.add_argument("--per-image", type=int, default=125, help="patches of an image")
    options.add_argument("--index", default="auto", help="FAISS's name")
    options.add_argument("--batch", type=int, default=8, help="images at a time")
    options.add_argument("--size", type=int, default=224, help="side of what is cut from scikit-learn's photographs")
    options = options.parse_args(args)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        database, image = build(options, folder), queries(options)
        quilting, searched = Quilting(patches=database), Quilting(patches=database)
        ids = torch.arange(options.batch)
        size, step = database.size, database.size - quilting.overlap
        rows, columns = (starts(side, size, step) for side in image.shape[2:])
        grid = torch.stack([image[:, :, a : a + size, b : b + size] for a in rows for b in columns], dim=1)
        patches = grid.flatten(2)  # (N, A·B, 3·S·S)
        grid = grid.view(len(image), len(rows), len(columns), 3, size, size)
        measured = json.loads((folder / MEASURED).read_text())
        index = read_index(folder / FILE)
        index.nprobe = measured["nprobe"]
        together = patches.flatten(0, 1).numpy()

        def quilt(quilting: Quilting, draw: int) -> Tensor:
            return quilting(image, Randomness(0, ids, draw=draw))

        quilt(searched, 0)

        runs = (
            lambda: quilt(quilting, 0),  # the same draw again is searched again
            lambda: database.nearest(patches, quilting.k),
            lambda: joined(grid, quilting.overlap),
            lambda: quilt(searched, 1),  # another one is not
            lambda: index.search(together, quilting.k),
        )
        whole, search, seams, further, bare = in_turn(options, *runs)
        shares = measured["recall"], recall(database, folder, patches.flatten(0, 1))
    lines = [
        Line("quilting / FAISS's search", "s", whole, bare, Target(high=1.3)),
        Line("search of each image / FAISS's search", "s", search, bare),
        Line("seams / quilting", "s", seams, whole),
        Line("a further draw / quilting", "s", further, whole),
    ]
    sides = "×".join(map(str, image.shape[2:]))
    report(
        f"Quilting: {options.batch} images of {sides}, {patches.shape[1]:,} patches each, K = {quilting.k} of "
        f"{options.count:,}; {measured['factory']} reads {measured['nprobe']} lists, recall {shares[0]:.3f} among the "
        f"patches, {shares[1]:.3f} of the images",
        lines,
        options,
    )


if __name__ == "__main__":
    main()
