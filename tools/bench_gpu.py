"""What a GPU makes of tests, attacks and search, each in a process of its own with a time limit; in all 330 seconds.

    tools/check_gpu.sh                                   # all of it, into one record; code 2 without a GPU
    python tools/bench_gpu.py --only attack              # one part, in this process and without a limit

tests: those marked gpu. attack: PGD-10 of a ResNet-50 beside the matrix product of the same arithmetic, goal ≥ 0.60.
search: `Resident` beside FAISS on the GPU or, where that sees none, a matrix product and the smallest of each row.
idle: how long nothing runs on the GPU in PGD-10 on a soft kNN vote, over random rows.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
import torch.nn.functional as F
from bench import Line, Target, in_turn, parser, report
from bench_defense import build
from bench_index import K, features, store_of
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import SoftKNN
from lit_knn.backbones import Classifier, Projection, Tap, set_precision
from lit_knn.database import Database
from lit_knn.database.index import Faiss, Resident
from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.defenses import CBWD, KNN
from lit_knn.errors import UserError
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

ROOT = Path(__file__).parents[1]
DELTA, STEPS = 0.06, 10
PRODUCTS = 10  # of matrices, timed together


def tests(options: argparse.Namespace) -> list[Line]:
    """Run the tests marked gpu."""
    import pytest

    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = Path(folder) / "tests.xml"
        pytest.main(
            [f"--rootdir={ROOT}", "-m", "gpu", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={found}", *files]
        )
        count = {name: int(value) for name, value in ElementTree.parse(found).getroot()[0].items() if value.isdigit()}
    skipped, failed = count["skipped"], count["failures"] + count["errors"]
    if count["tests"] == skipped:
        raise UserError("no test marked gpu ran")
    name = f"tests that pass / that run, {skipped} skipped"
    return [Line(name, "tests", [count["tests"] - skipped - failed], [count["tests"] - skipped], Target(low=1))]


def attack(options: argparse.Namespace) -> list[Line]:
    """Compare the operations per second of PGD-10 with those of a matrix product, in each precision."""
    device = torch.device(options.device)
    model, image, label = _network(options, device)
    lines = []
    for precision in options.precision:
        set_precision(model, precision)
        model.examine(image)
        with FlopCounterMode(display=False) as counter:
            F.cross_entropy(model(image.clone().requires_grad_()), label).backward()  # parameters are frozen
        dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
        left, right = (torch.randn(options.matrix, options.matrix, device=device, dtype=dtype) for _ in "ab")

        def product(left: Tensor = left, right: Tensor = right) -> None:
            with _as_convolutions():
                for _ in range(PRODUCTS):
                    left @ right

        taken, ceiling = in_turn(options, _pgd(model, image, label), product)
        done, most = STEPS * counter.get_total_flops() / 1e12, PRODUCTS * 2 * options.matrix**3 / 1e12
        rounded = "TF32" if precision == "32-true" and _convolutions_round(device) else precision
        rates = [done / seconds for seconds in taken], [most / seconds for seconds in ceiling]
        lines.append(Line(f"PGD-10 / matrix product, {rounded}", "TFLOP/s", *rates, Target(low=0.6)))
    return lines


def search(options: argparse.Namespace) -> list[Line]:
    """Compare the queries per second of exact searches."""
    device = torch.device(options.device)
    rows = features(options.rows + options.queries, options.dimension)
    queries = torch.from_numpy(rows[options.rows :]).to(device)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = store_of(Path(folder) / "store", rows[: options.rows])
        held = Resident(device=options.device).open(store, "tap", Path(folder))
        by_faiss = importlib.util.find_spec("faiss") is not None and bool(load_faiss().get_num_gpus())
        if by_faiss:
            flat = Faiss(device=options.device)
            flat.build(store, "tap", Path(folder) / "flat")
            peer: Any = flat.open(store, "tap", Path(folder) / "flat").search
        else:
            peer = _by_product(torch.from_numpy(rows[: options.rows]).to(device))

        def run(find: Callable[..., object]) -> Callable[[], object]:
            return lambda: [find(part, K) for part in queries.split(options.batch)]

        taken = in_turn(options, run(held.search), run(peer))
    rates = [[len(queries) / second for second in seconds] for seconds in taken]
    return [Line(f"Resident / {'FAISS Flat' if by_faiss else 'matrix product, topk'}", "queries/s", *rates)]


def idle(options: argparse.Namespace) -> list[Line]:
    """Measure how long nothing runs on the device in PGD-10, on the network and on a soft kNN vote."""
    device = torch.device(options.device)
    model, image, label = _network(options, device)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        tap = Tap(options.tap, dimension=options.dimension, name="tap")
        database = Database(path=folder, taps=[tap], index=Resident(device=options.device))
        gallery = build(database, rows=options.stored, dimension=options.dimension, classes=model.num_classes or 0)
        width = model.activations(image[:2], [tap])["tap"].shape[1]
        axes = torch.linalg.qr(torch.randn(width, options.dimension))[0].T.contiguous()  # (d, D)
        projection = Projection(torch.zeros(width), axes, torch.ones(len(axes)), options.stored)
        gallery = replace(gallery, projections={"tap": projection}).resident()
        copy = SurrogateDefense(model, KNN(taps=["tap"], k=[K], weightings=[CBWD()], combinations=["soft"]), gallery)
        runs = {"PGD-10": _pgd(model, image, label), "PGD-10-soft-kNN": _pgd(model, image, label, copy)}
        taken = in_turn(options, *runs.values())
        lines = []
        for (name, run), seconds in zip(runs.items(), taken, strict=True):
            busy = _busy(run, device)
            lines.append(Line(f"{name}: idle / all", "s", [max(0.0, second - busy) for second in seconds], seconds))
    return lines


def _network(options: argparse.Namespace, device: torch.device) -> tuple[Classifier, Tensor, Tensor]:
    """Return a random network, examined on random images, with these and labels."""
    torch.manual_seed(0)
    model = Classifier(network=options.network, mean=[0.5] * 3, std=[0.5] * 3).to(device)
    image = torch.rand(options.images, 3, options.size, options.size, device=device)
    model.examine(image)
    return model, image, torch.randint(model.num_classes or 0, (options.images,), device=device)


def _pgd(model: Classifier, image: Tensor, label: Tensor, copy: SurrogateDefense | None = None) -> Callable[[], object]:
    pgd = PGD(steps=STEPS, objective=None if copy is None else SoftKNN())
    return lambda: list(pgd(model, image, label, torch.arange(len(image)), [DELTA], copy))


def _convolutions_round(device: torch.device) -> bool:
    return device.type == "cuda" and torch.backends.cudnn.conv.fp32_precision == "tf32"


@contextmanager
def _as_convolutions() -> Iterator[None]:
    """Let products of float32 round as convolutions do: a network is nearly all convolutions."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _by_product(rows: Tensor) -> Callable[[Tensor, int], object]:
    """Return an exact search of rows ``(M, D)``, as a few lines of PyTorch do it."""
    squares = rows.square().sum(dim=1)

    def find(queries: Tensor, k: int) -> object:
        return torch.addmm(squares, queries, rows.T, alpha=-2).topk(k, largest=False).indices

    return find


def _busy(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that kernels of a GPU, or operators of PyTorch on a CPU, take in one run."""
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=kinds) as seen:
        run()
    if device.type == "cpu":
        return sum(operator.self_cpu_time_total for operator in seen.key_averages()) / 1e6
    kernels = (event for event in seen.events() if event.device_type == torch.autograd.DeviceType.CUDA)
    return sum(event.self_device_time_total for event in kernels if not event.name.startswith("Mem")) / 1e6


PARTS: dict[str, tuple[Callable[[argparse.Namespace], list[Line]], int]] = {  # with the seconds that each may take
    "tests": (tests, 90),
    "attack": (attack, 75),
    "search": (search, 90),
    "idle": (idle, 75),
}


def limited(part: Callable[[argparse.Namespace], list[Line]], options: argparse.Namespace, limit: float) -> list[Line]:
    """Return what a part measures in a process of its own.

    Raises:
        UserError: If it takes longer than a limit in seconds, or fails, of which its process says more.
    """
    context = multiprocessing.get_context("spawn")  # no process that has asked for a GPU can be forked
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, part, options))
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit):
            raise UserError(f"{part.__name__} took longer than {limit:g} s")
        return receiver.recv()
    except EOFError:
        raise UserError(f"{part.__name__} failed") from None
    finally:
        process.kill()
        process.join()


def _send(sender: Connection, part: Callable[[argparse.Namespace], list[Line]], options: argparse.Namespace) -> None:
    sender.send(part(options))


def main(args: list[str] | None = None) -> int:
    """Measure and print; return 2 without the device, and 1 if a test or a part failed."""
    options: Any = parser(__doc__, rounds=5)
    options.add_argument("--only", choices=PARTS, help="one part, here and without a limit")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    options.add_argument(
        "--network", default="torchvision/resnet50", help="as model.classifier.network, random weights"
    )
    options.add_argument("--precision", nargs="+", default=["32-true", "bf16-mixed"], help="as trainer.precision")
    options.add_argument("--images", type=int, default=128, help="attacked at a time")
    options.add_argument("--size", type=int, default=224, help="of their side, in pixels")
    options.add_argument("--matrix", type=int, default=8192, help="side of the matrices that are multiplied")
    options.add_argument("--tap", default="layer3.5.add", help="a layer of the network")
    options.add_argument("--stored", type=int, default=100_000, help="rows of the database that votes")
    options.add_argument("--rows", type=int, default=1_000_000, help="of the database that is searched")
    options.add_argument("--dimension", type=int, default=256, help="of both")
    options.add_argument("--queries", type=int, default=640)
    options.add_argument("--batch", type=int, default=64, help="queries at a time")
    options = options.parse_args(args)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("error: PyTorch sees no GPU here; --device cpu tries the scripts without one", file=sys.stderr)
        return 2
    lines, failed = [], False
    for name, (part, limit) in PARTS.items():
        if options.only in (None, name):
            try:
                lines += part(options) if options.only else limited(part, options, limit)
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                failed = True
    if lines:
        report(
            f"GPU: {options.network}, {options.images} images of {options.size} px, {options.device}", lines, options
        )
    return int(failed or any(line.unit == "tests" and line.measured != line.base for line in lines))


if __name__ == "__main__":
    sys.exit(main())
