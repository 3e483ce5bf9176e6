"""Make *Targeted* tar shards out of *All*: the images of which a hashtag names a class.

python tools/select_targeted.py select ALL... TARGETED [--part 3/64] [--deny FILE] [--classes FILE] [--hashtags FILE]

ALL are tar files, folders or patterns as img2dataset writes them. Each makes one tar file of the same name, with
``NAME_stats.json`` beside it; whichever run finds all of them done adds ``summary.json``. What is kept is kept byte for
byte but for its JSON, where ``targeted`` tells the hashtags that matched and the WordNet ids of each. Run it again to
go on; each task of a Slurm array does its part. To drop hashtags that hardly occur, count first:

python tools/select_targeted.py count ALL... TARGETED [--part 3/64] [--hashtags FILE]
python tools/select_targeted.py select ALL... TARGETED [--part 3/64] --min-count 100
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from lit_knn.data.curation.hashtags import IMAGENET, HashtagList
from lit_knn.data.curation.targeted import copy_matching, count_hashtags
from lit_knn.data.sources.file_patterns import local_files
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError, WriteError, one_sentence
from lit_knn.storage.atomic import atomic_write


def count_shard(path: Path, target: Path, known: HashtagList) -> None:
    """Write how often each hashtag of the list occurs in a tar file."""
    counts = count_hashtags(path, known)
    write_json(target, {**origin(path, known), "hashtags": dict(sorted(counts.items()))})


def select_shard(path: Path, target: Path, chosen: HashtagList) -> None:
    """Write the tar file of what matches, and its statistics first: where there is the tar file, all is done."""
    with atomic_write(target) as unfinished:
        with unfinished.open("wb") as out:
            counts = copy_matching(path, out, chosen)
        write_json(stats_of(target), {**origin(path, chosen), **flat(counts)})


def flat(counts: dict[str, Counter[str]]) -> dict[str, Any]:
    """Return counts as they are written: those of images side by side, the others sorted by name."""
    return {**counts["images"], **{name: dict(sorted(counts[name].items())) for name in ("hashtags", "synsets")}}


def origin(path: Path, chosen: HashtagList) -> dict[str, Any]:
    """Return what must be the same when a run goes on."""
    with path.open("rb") as file:
        start = hashlib.sha256(file.read(4096)).hexdigest()[:16]
    return {"source": path.name, "bytes": path.stat().st_size, "start": start, "selection": chosen.identity()}


def stats_of(target: Path) -> Path:
    """Return the name that img2dataset would give."""
    return target.with_name(f"{target.stem}_stats.json")


def write_json(path: Path, fields: dict[str, Any]) -> None:
    """Write all of it or nothing."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(record: Path, path: Path, chosen: HashtagList) -> dict[str, Any]:
    """Read what was written about a tar file.

    Raises:
        UserError: If it was written for other hashtags, or for another tar file.
    """
    expected = origin(path, chosen)
    try:
        fields: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        found = {name: fields[name] for name in expected}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{record} is damaged ({error!r}): delete it and what it belongs to") from error
    if found != expected:
        raise UserError(f"{record} was made from another {path.name} or with other options: choose another folder")
    return fields


def frequent(known: HashtagList, shards: dict[Path, Path], least: int) -> set[str]:
    """Return the hashtags that at least so many images of all tar files have.

    Raises:
        UserError: If some are not counted yet.
    """
    missing = [path for path, record in shards.items() if not record.exists()]
    if missing:
        raise UserError(f"--min-count needs counts, but {len(missing)} tar files have none ({missing[0]}): count first")
    total: Counter[str] = Counter()
    for path, record in shards.items():
        total.update(read_record(record, path, known)["hashtags"])
    return {tag for tag, count in total.items() if count >= least}


def summary(shards: dict[Path, Path], chosen: HashtagList) -> dict[str, Any]:
    """Add up the statistics of all tar files."""
    total: dict[str, Counter[str]] = {"images": Counter(), "hashtags": Counter(), "synsets": Counter()}
    for path, target in shards.items():
        stats = read_record(stats_of(target), path, chosen)
        for name in ("images", "kept", "without_image", "unreadable_metadata"):
            total["images"][name] += stats[name]
        for name in ("hashtags", "synsets"):
            total[name].update(stats[name])
    return {"shards": len(shards), "selection": chosen.identity(), **flat(total)}


def lines(option: str, path: Path | None) -> list[str]:
    """Read a text file, one thing per line."""
    try:
        found = path.read_text(encoding="utf-8").splitlines() if path else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option} {path} cannot be read ({error})") from error
    return [line.strip() for line in found if line.strip()]


def targets(urls: list[str], out: Path, form: str) -> dict[Path, Path]:
    """Return what each tar file becomes.

    Raises:
        UserError: If two would become the same, or one itself.
    """
    shards: dict[Path, Path] = {}
    names: dict[str, Path] = {}
    for path in local_files(urls, kind="tar", suffixes=(".tar",)):
        if path.resolve().parent == out.resolve():
            raise UserError(f"{path} lies in the folder to write to: choose another folder than {out}")
        if path.stem in names:
            raise UserError(f"{names[path.stem]} and {path} have the same name: write them to two folders")
        names[path.stem] = path
        shards[path] = out / form.format(path.stem)
    return shards


def work(make: Callable[[Path, Path, HashtagList], None], shards: dict[Path, Path], chosen: HashtagList) -> None:
    """Make what is missing; a damaged tar file does not keep the others waiting.

    Raises:
        UserError: If some were damaged, at the end.
    """
    bad: list[UserError] = []
    for path, target in track(shards.items(), description=make.__name__, console=Console(stderr=True)):
        record = target if target.suffix == ".json" else stats_of(target)
        if target.exists():
            read_record(record, path, chosen)
            continue
        try:
            make(path, target, chosen)
        except WriteError:
            raise
        except UserError as error:
            bad.append(error)
    if bad:
        raise UserError(
            f"{len(bad)} of {len(shards)} tar files are left out, mend them and run it again; first: {bad[0]}"
        )


def main(args: list[str] | None = None) -> None:
    """Count or select."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["count", "select"])
    parser.add_argument("urls", nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--part", default="", help="3/64: the third of 64 parts; by default the task's in a Slurm array"
    )
    parser.add_argument("--hashtags", type=Path, default=IMAGENET, help="a list that tools/derive_hashtags.py made")
    parser.add_argument("--classes", type=Path, help="WordNet ids, one per line: the hashtags of no others")
    parser.add_argument("--deny", type=Path, help="hashtags to ignore, one per line")
    parser.add_argument("--min-count", type=int, default=1, help="ignore hashtags that fewer images have")
    options = parser.parse_args(args)
    part = Partition.parse(options.part)
    if options.min_count < 1:
        raise UserError(f"--min-count is {options.min_count}: accepted are 1 and more")
    chosen = known = HashtagList.read(options.hashtags)
    counts = targets(options.urls, options.out, "counts/{}.json")
    try:
        if options.step == "count":
            work(count_shard, dict(part.of(list(counts.items()))), known)
            return
        if options.classes:
            chosen = chosen.only(lines("--classes", options.classes))
        chosen = chosen.without(lines("--deny", options.deny))
        if options.min_count > 1:
            chosen = chosen.without(known.synsets.keys() - frequent(known, counts, options.min_count))
        if not chosen.synsets:
            raise UserError("no hashtag is left to look for: ask for less with --classes, --deny or --min-count")
        shards = targets(options.urls, options.out, "{}.tar")
        work(select_shard, dict(part.of(list(shards.items()))), chosen)
        if all(target.exists() for target in shards.values()):
            write_json(options.out / "summary.json", summary(shards, chosen))
    except OSError as error:
        raise UserError(f"{error.filename or options.out} cannot be read or written ({error.strerror})") from error


if __name__ == "__main__":
    with one_sentence("error"):
        main()
