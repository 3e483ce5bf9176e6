"""How many times faster PCA is than scikit-learn's IncrementalPCA, target ≥ 10, and what 25,088 dimensions take.

    OMP_NUM_THREADS=1 python tools/bench_pca.py --clock cpu     # scikit-learn takes a minute and a half a round
    OMP_NUM_THREADS=1 python tools/bench_pca.py --only wide
    python tools/bench_pca.py --device cuda

Narrow: both see the same stream of blocks, and ours decomposes at the end. The rows are normal, their spectrum falls
like the inverse square root of the index. Then the variance that either explains of rows held out, target at least
scikit-learn's.
Wide (Linux only): a process of its own streams rows and decomposes their moments. Its peak memory, PyTorch included, or
the GPU's, stands beside the 8·D² bytes of a full matrix of float64, target ≤ 1; its seconds are there to be read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from bench import Line, Target, in_turn, parser, report
from sklearn.decomposition import IncrementalPCA
from torch import Tensor

from lit_knn.backbones import Moments, Projection

FEW = 64  # directions that the wide rows have beside noise; drawing more would take as long as their moments


def spectrum(dimensions: int, block: int) -> Iterator[Tensor]:
    """Yield blocks of normal rows with standard deviations 1, 2^-0.5, 3^-0.5, … along random directions."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(dimensions, dimensions, generator=generator)).Q
    scaled = directions * torch.arange(1, dimensions + 1)[:, None] ** -0.5
    mean = torch.randn(dimensions, generator=generator)
    while True:
        yield torch.randn(block, dimensions, generator=generator) @ scaled + mean


def fit(blocks: list[Tensor], components: int, device: str) -> Projection:
    """Fit ours."""
    moments = Moments(blocks[0][:64].to(device), device)
    for block in blocks:
        moments.update(block.to(device))
    return Projection.fit(moments, components)


def explained(rows: Tensor, mean: Tensor, components: Tensor) -> float:
    """Return the share of the rows' variance that is left after projection and back."""
    centered, directions = rows.double() - mean.double(), components.double()
    rest = centered - centered @ directions.T @ directions
    return 1 - float(rest.square().sum() / (rows.double() - rows.double().mean(dim=0)).square().sum())


def narrow(options: argparse.Namespace) -> list[Line]:
    """Compare seconds and explained variance."""
    blocks = spectrum(options.dimensions, options.block)
    seen = [next(blocks) for _ in range(options.rows // options.block)]
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def incremental() -> None:
        peer = IncrementalPCA(options.components, batch_size=options.block)
        for block in seen:
            peer.partial_fit(block.numpy())
        found["peer"] = torch.from_numpy(peer.mean_), torch.from_numpy(peer.components_)

    def ours() -> None:
        projection = fit(seen, options.components, options.device)
        found["ours"] = projection.mean, projection.components

    name = f"{options.dimensions:,} dimensions"
    lines = [Line(f"{name}, IncrementalPCA / ours", "s", *in_turn(options, incremental, ours), Target(low=10))]
    held_out = torch.cat([next(blocks) for _ in range(8)])
    share, base = explained(held_out, *found["ours"]), explained(held_out, *found["peer"])
    return [*lines, Line(f"{name}, explained, ours / IncrementalPCA", "share", [share], [base], Target(low=1))]


def stream_wide(options: argparse.Namespace) -> dict[str, float]:
    """Fit and return seconds and MiB; to be run in a process of its own."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(FEW, options.wide_dimensions, generator=generator)
    started = time.perf_counter()
    moments: Moments | None = None
    for _ in range(options.wide_rows // options.block):
        rows = torch.randn(options.block, FEW, generator=generator) @ mixing
        rows = rows.add_(torch.randn(rows.shape, generator=generator)).to(options.device)
        moments = moments or Moments(rows[:64], options.device)
        moments.update(rows)
    if moments is None:
        raise SystemExit("--wide-rows must be at least --block")
    int(moments.outer[-1])  # waits for the GPU
    streamed = time.perf_counter()
    Projection.fit(moments, options.components)
    fitted = time.perf_counter()
    if options.device == "cpu":
        status = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
    else:
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {"stream": streamed - started, "fit": fitted - streamed, "peak": peak}


def wide(options: argparse.Namespace) -> list[Line]:
    """Measure a process over many dimensions."""
    arguments = {
        "--wide-dimensions": options.wide_dimensions,
        "--wide-rows": options.wide_rows,
        "--block": options.block,
        "--components": options.components,
        "--device": options.device,
    }
    command = [sys.executable, __file__, "--child", *(str(part) for item in arguments.items() for part in item)]
    launched = subprocess.run(command, capture_output=True, check=False, text=True)
    if launched.returncode:
        raise SystemExit(launched.stderr)
    taken = json.loads(launched.stdout)
    size, rows = options.wide_dimensions, options.wide_rows
    full = 8 * size**2 / 2**20
    return [
        Line(f"{size:,} dimensions, peak / 8·D² bytes", "MiB", [taken["peak"]], [full], Target(high=1)),
        Line(f"{size:,} dimensions, decomposing / {rows:,} rows", "s", [taken["fit"]], [taken["stream"]]),
    ]


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--only", choices=["narrow", "wide"], help="one of the two; both by default")
    options.add_argument("--components", type=int, default=256)
    options.add_argument("--block", type=int, default=1024, help="rows of a block of the stream")
    options.add_argument("--device", default="cpu", help="of ours; scikit-learn stays on the CPU")
    options.add_argument("--dimensions", type=int, default=2048)
    options.add_argument("--rows", type=int, default=65_536)
    options.add_argument("--wide-dimensions", type=int, default=25_088)
    options.add_argument("--wide-rows", type=int, default=4096)
    options.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = options.parse_args(args)
    if options.child:
        print(json.dumps(stream_wide(options)))
        return
    lines = []
    for name, measure in (("narrow", narrow), ("wide", wide)):
        if options.only in (None, name):
            lines += measure(options)
    report(f"PCA: {options.components} components, blocks of {options.block:,} rows", lines, options)


if __name__ == "__main__":
    main()
