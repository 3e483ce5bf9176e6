"""What the tests of a folder cost with the cache that they share, target ≤ 0.4 of the images that networks are given.

    python tools/bench_paper.py --share 0.02
    python tools/bench_paper.py configs/imagenette --share 0.1

All tests of a folder run twice, in the order of its ``chains.txt``: those that name a cache share one, and then each
has one of its own. Counted is each image that any network is given, up to a tap or the logits: by attacks, defenses,
and what a run measures and draws at its end. The database of the configuration has to be there; how many rows it has
changes nothing. A share is also one of the queries that are drawn, at least one.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from bench import Line, Target, parser, report
from pytorch_lightning import Callback, LightningModule, Trainer

from lit_knn.backbones import Classifier
from lit_knn.cli.main import main as lit_knn
from lit_knn.engine.callbacks import NeighborPictures

ROOT = Path(__file__).parents[1]
SCALED = ("num_queries", "batch_size")


class ImageCount(Callback):
    """Write how many images all networks of a run were given, once it has ended.

    Args:
        path: Of a text file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Sum and write."""
        del trainer, stage
        networks = [part for part in pl_module.modules() if isinstance(part, Classifier)]
        Path(self.path).write_text(str(sum(network.passed for network in networks)))


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("study", type=Path, nargs="?", default=ROOT / "configs" / "cifar10", help="folder")
    options.add_argument("--share", type=float, default=1.0, help="of the queries, and of a batch, in (0, 1]")
    options = options.parse_args(args)
    if not 0 < options.share <= 1:
        sys.exit(f"bench_paper: --share is {options.share}; above 0 and up to 1 is accepted")
    counts: dict[str, tuple[list[int], list[int]]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for place, kind in enumerate(("shared", "own")):
                for name, command in _tests(options.study, Path(folder) / kind):
                    own = f"{folder}/{kind}/cache{f'/{name}' if kind == 'own' else ''}"
                    counted = _images([*command, *_changes(command, options.share, own)], Path(folder) / "count")
                    counts.setdefault(name, ([], []))[place].append(counted)
                    print(f"{kind} cache, {name}: {counted:,} images", file=sys.stderr, flush=True)
    lines = [Line(f"{name}: shared cache / its own", "images", *measured) for name, measured in counts.items()]
    sums = [[sum(found) for found in zip(*side, strict=True)] for side in zip(*counts.values(), strict=True)]
    lines.append(Line("all tests: shared cache / each its own", "images", *sums, Target(high=0.4)))
    report(f"images through networks, {options.share:g} of the queries of {options.study.name}", lines, options)


def _tests(study: Path, runs: Path) -> list[tuple[str, list[str]]]:
    """Return name and command of each test of a folder, in the order in which one process would run them."""
    submit = [sys.executable, str(ROOT / "slurm" / "submit"), str(study), "--local", "--dry-run", "--no-forecast"]
    listed = subprocess.run(
        [*submit, "--steps", "test", "--runs", str(runs)], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        sys.exit(listed.stderr)
    commands = [shlex.split(line) for line in listed.stdout.splitlines()]
    return [(words[-1], words) for words in commands]  # which end with --trainer.run NAME


def _changes(command: list[str], share: float, cache: str) -> list[str]:
    """Return the options that scale a test, and put its cache elsewhere if it names one."""
    files = [after for word, after in pairwise(command) if word == "--config"]
    settings = [yaml.safe_load(Path(file).read_text(encoding="utf-8")) for file in files]

    def last(*keys: str) -> Any:
        found = None
        for part in settings:
            for key in keys:
                part = (part or {}).get(key)
            found = part if part is not None else found
        return found

    sizes = {key: last("data", key) for key in SCALED}
    if lacking := [key for key, size in sizes.items() if size is None]:
        sys.exit(f"bench_paper: {files[-1]} and those under it name no data.{lacking[0]} to take a share of")
    scaled = [f"--data.{key}={max(1, round(share * size))}" for key, size in sizes.items()]
    if last("trainer", "callbacks") is None:
        drawn = max(1, round(share * NeighborPictures().inspected))
        scaled += ["--trainer.callbacks+=NeighborPictures", f"--trainer.callbacks.inspected={drawn}"]
    return [*scaled, *([f"--model.cache.path={cache}"] if last("model", "cache", "path") else [])]


def _images(command: list[str], path: Path) -> int:
    """Return how many images the networks of a test were given, which runs here: 34 imports of PyTorch take minutes."""
    counting = ["--trainer.callbacks+", "bench_paper.ImageCount", "--trainer.callbacks.path", str(path)]
    with redirect_stdout(StringIO()):
        lit_knn([*command[1:], *counting])
    return int(path.read_text())


if __name__ == "__main__":
    given = sys.argv[1:]
    del sys.argv[1:]  # Lightning warns where a script with arguments of its own runs a command
    main(given)
