"""Pack images into WebDataset tar shards: ``part-00000.tar`` … and ``classes.txt``; run it again to go on.

python tools/make_shards.py folder IMAGES OUT [--shard-size 10000] [--prefix train]
python tools/make_shards.py cifar10 ROOT OUT [--split train] [--prefix train]
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from lit_knn.data import CIFAR10, ImageError, ImageFolder, ImageSource, Sample, Shard, decode
from lit_knn.errors import UserError

_MAGIC = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}


def encoded(sample: Sample) -> tuple[str, bytes]:
    """Return an extension and bytes; JPEG and PNG stay byte for byte, whatever they are named, the rest becomes PNG."""
    if isinstance(sample.image, bytes):
        for magic, extension in _MAGIC.items():
            if sample.image.startswith(magic):
                return extension, sample.image
        try:
            pixels = decode(sample.image).permute(1, 2, 0).numpy()  # (H, W, 3)
        except ImageError as error:
            raise UserError(f"{sample.key}: {error}") from error
    else:
        pixels = np.asarray(sample.image)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return "png", buffer.getvalue()


def write_shard(shard: Shard, path: Path) -> None:
    """Write one tar file under a temporary name, then rename it: a file with the final name is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    keys: set[str] = set()
    try:
        with temporary.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for row in track(range(len(shard)), description=path.name):
                    sample = shard.read(row)
                    folder, _, name = sample.key.rpartition("/")
                    key = f"{folder}/" * bool(folder) + Path(name).stem.replace(".", "_")  # a key ends at the first dot
                    if key in keys:
                        raise UserError(f"{sample.key} shares the key {key} with another image: rename one")
                    keys.add(key)
                    extension, image = encoded(sample)
                    add(tar, f"{key}.{extension}", image)
                    if sample.label >= 0:
                        add(tar, f"{key}.cls", str(sample.label).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a member that is the same on every machine and day."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def main(args: list[str] | None = None) -> None:
    """Write all shards that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["folder", "cifar10"])
    parser.add_argument("source", type=Path, help="folder of images, or what holds cifar-10-batches-py")
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=["train", "test"], default="train", help="of cifar10")
    parser.add_argument("--shard-size", type=int, default=10_000, help="images per shard of a folder")
    parser.add_argument("--prefix", default="part")
    options = parser.parse_args(args)
    source: ImageSource
    if options.kind == "cifar10":
        source = CIFAR10(root=options.source, split=options.split)
    else:
        source = ImageFolder(root=options.source, shard_size=options.shard_size)
    options.out.mkdir(parents=True, exist_ok=True)
    if source.class_names:
        (options.out / "classes.txt").write_text("\n".join(source.class_names) + "\n")
    for index in range(len(source.shard_names())):
        path = options.out / f"{options.prefix}-{index:05d}.tar"
        if path.exists():
            print(f"{path} is there")
        else:
            write_shard(source.open_shard(index), path)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
