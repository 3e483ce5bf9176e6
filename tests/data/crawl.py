"""A folder as img2dataset writes it, shard by shard, after one that version 1.47.0 wrote from a server on 127.0.0.1."""

import io
import json
import tarfile
from pathlib import Path

from tests.data.conftest import encode, photo


def write_shard(
    folder: Path,
    number: int,
    images: int = 4,
    *,
    lost: int = 0,
    unusable: int = 0,
    finished: bool = True,
    side: int = 8,
) -> Path:
    """Write a shard, and its statistics if it is finished; those that were lost leave their keys out."""
    folder.mkdir(parents=True, exist_ok=True)
    path, tried = folder / f"{number:05d}.tar", images + lost + unusable
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for place in range(lost, lost + images):
            key = f"{number * 100 + place:07d}"
            data = encode(photo(number * 100 + place, side, side), "jpg")
            about = {"url": f"http://127.0.0.1/{key}.jpg", "key": key, "status": "success", "error_message": None}
            sizes = dict.fromkeys(("width", "height", "original_width", "original_height"), side)
            for kind, content in (("jpg", data), ("json", json.dumps(about | sizes, indent=4).encode())):
                member = tarfile.TarInfo(f"{key}.{kind}")
                member.size, member.mode, member.uname, member.gname = len(content), 0o444, "bigdata", "bigdata"
                tar.addfile(member, io.BytesIO(content))
    path.with_suffix(".parquet").write_bytes(b"PAR1")
    if finished:
        finish(path, tried, images, lost, unusable)
    else:
        path.write_bytes(path.read_bytes()[: 512 * 3])
    return path


def finish(path: Path, tried: int, images: int, lost: int, unusable: int) -> None:
    """Write the statistics of a shard."""
    counts = {"count": tried, "successes": images, "failed_to_download": lost, "failed_to_resize": unusable}
    status = {"success": images, "HTTP Error 404: Not Found": lost, "Image decoding error": unusable}
    times = {"duration": 1.5, "start_time": 1796007696.7, "end_time": 1796007698.2}
    text = json.dumps({**counts, **times, "status_dict": status}, indent=4)
    path.with_name(f"{path.stem}_stats.json").write_text(text)
