"""Whether the graph of a network is the network: both are run on one batch, from the same random state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lit_knn.backbones.hooking import hooked, modules_by_tap
from lit_knn.backbones.precision import rounded_products
from lit_knn.backbones.random_state import RandomState
from lit_knn.backbones.taps import Tap, TappedNetwork
from lit_knn.backbones.tracing import Trace
from lit_knn.errors import UserError, first_line

FEW = 2  # images that are compared with the same among all: many networks fail on one
PLAINLY = 0.02  # of the largest value, at least: other kernels for fewer images stay below it
TF32 = 2.0**-8  # four steps of its 10 bits


class Examination(NamedTuple):
    """What one batch tells about a network.

    Attributes:
        num_classes: C.
        randomized: Whether its answer is another one each time.
        alone: Whether an image's answer is the same without the others of its batch.
        probabilities: Whether each answer has no negative value and the sum 1, as behind a softmax.
        objection: Why its graph, with these taps, is not the network; empty if it is, or if there is none.
    """

    num_classes: int
    randomized: bool
    alone: bool
    probabilities: bool
    objection: str

    def cautions(self) -> list[str]:
        """Return what to know before its numbers are believed, as sentences that lack who."""
        known = {
            "draws random numbers when it answers: attacks, answers and stored features see different draws, and "
            "results depend on the batch size and on the number of processes": self.randomized,
            "answers for an image by the others of its batch, too: results depend on the batch size": not self.alone,
            "returns probabilities, and their softmax is taken as that of logits: its gradients and confidences are "
            "flatter than the network's own; return what is before the softmax, or the logarithm": self.probabilities,
        }
        return [caution for caution, holds in known.items() if holds]


def examine(
    network: nn.Module, trace: Trace | None, image: Tensor, taps: Sequence[Tap], output: str | int | None
) -> Examination:
    """Run a network twice, its graph once and a few images again, each from the same state of random numbers.

    Args:
        network: In evaluation mode.
        trace: Its graph, if it has one with all taps.
        image: ``(N, 3, H, W)``, normalized.
        taps: Those that are modules are compared, too.
        output: Where the logits are.

    Raises:
        Exception: Whatever the network does.
        UserError: If the network does not return logits, or a tap has no activations; if an activation depends on the
            other images of the batch, or the network changes its own weights when it answers.
    """
    start, weights = RandomState(image.device), _versions(_saved(network))
    modules = modules_by_tap(network, [tap.layer for tap in taps])
    tapped = [tap for tap in taps if tap.layer in modules]
    read = _run(hooked(network, tapped, output), image, start)
    buffers = _versions(network.named_buffers())  # a first pass may fill those that are in no file, as a cache
    with _Used() as used:
        again = _run(hooked(network, [], output), image, start)
    own = set(map(id, network.parameters()))
    if foreign := [tuple(value.shape) for value in used.parameters if id(value) not in own]:
        raise UserError(
            f"the network computes with a parameter {foreign[0]} that is not registered, such as one of a module "
            "in a plain list, which is neither saved, moved nor told from another: hold it in an nn.ModuleList or "
            "attribute"
        )
    repeats = agree(again.logits, read.logits, read.logits.dtype)
    randomized = not (repeats and read.end.same(start))
    changed = _changed(weights, _saved(network))
    if changed := changed or ([] if repeats else _changed(buffers, network.named_buffers())):
        raise UserError(
            f"the network changes its own {changed[0]!r} when it answers, so that an answer depends on those before "
            "it: let it be as it is in evaluation mode"
        )
    few = image[:FEW]
    alone = randomized or len(few) == len(image) or _alone(_run(hooked(network, tapped, output), few, start), read)
    objection = ""
    if trace is not None and not repeats:
        objection = "the network does not repeat itself"
    elif trace is not None:
        try:
            objection = _objection(_run(trace.tapped(taps, output), image, start), read)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - what was frozen may fit no batch
            objection = f"it raises {first_line(error)}"
    sums = read.logits.sum(dim=1)
    probabilities = bool((read.logits >= 0).all()) and agree(sums, torch.ones_like(sums), read.logits.dtype)
    return Examination(read.logits.shape[1], randomized, alone, probabilities, objection)


def difference(
    network: nn.Module, other: nn.Module, image: Tensor, taps: Sequence[Tap], output: str | int | None
) -> str:
    """Return why another network is not the same on a batch, in words; empty if it is, to half of the digits.

    Args:
        network: In evaluation mode.
        other: Has the modules of the taps.
        image: ``(N, 3, H, W)``, normalized.
        taps: Those that are modules are compared, too.
        output: Where the logits are.
    """
    start, modules = RandomState(image.device), modules_by_tap(network, [tap.layer for tap in taps])
    tapped = [tap for tap in taps if tap.layer in modules]
    expected = _run(hooked(network, tapped, output), image, start)
    try:
        return _objection(_run(hooked(other, tapped, output), image, start), expected)
    except Exception as error:  # noqa: BLE001 - a network's own code may see that it is another one
        return f"it raises {first_line(error)}"


def agree(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Return whether two results are the same to half of the digits of a dtype, by the largest of ``expected``.

    Other kernels and orders of summation stay far below that, another network far above.
    """
    return _close(found, expected, tolerance(dtype, found.device))


def tolerance(dtype: torch.dtype, device: torch.device) -> float:
    """Return half of the digits of a dtype, of which TF32 leaves few on a GPU, as a share of the largest value."""
    half = float(torch.finfo(dtype).eps ** 0.5)
    return half if rounded_products(device) == "none" else max(half, TF32)


def _close(found: Tensor, expected: Tensor, share: float) -> bool:
    if found.shape != expected.shape:
        return False
    scale = float(expected.nan_to_num(posinf=0, neginf=0).abs().max())
    return torch.allclose(found, expected, rtol=0, atol=scale * share, equal_nan=True)


class _Run(NamedTuple):
    logits: Tensor
    features: Mapping[str, Tensor]
    end: RandomState


def _run(function: TappedNetwork, image: Tensor, start: RandomState) -> _Run:
    start.restore()
    with torch.no_grad():
        logits, features = function(image.clone())  # a network may work in place
    return _Run(logits, features, RandomState(image.device))


def _alone(few: _Run, all: _Run) -> bool:
    """Return whether the first images have the logits that they have among others; refuse if not their activations."""
    plainly = max(PLAINLY, tolerance(all.logits.dtype, all.logits.device))
    for name, found in few.features.items():
        if not _close(found, all.features[name][: len(found)], plainly):
            raise UserError(
                f"tap {name!r}: the activation of an image depends on the others of its batch, so that it is none of "
                "the image's; its first dimension has to be that of the images"
            )
    return _close(few.logits, all.logits[: len(few.logits)], plainly)


class _Used(TorchFunctionMode):
    """Notes the parameters that PyTorch's functions are given.

    Attributes:
        parameters: Some of them more than once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parameters: list[nn.Parameter] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function."""
        given = kwargs or {}
        self.parameters += [value for value in tree_leaves((args, given)) if isinstance(value, nn.Parameter)]
        return func(*args, **given)


def _saved(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the parameters and buffers of the state dict; what else it has may be made anew each time."""
    own = set(map(id, (*network.parameters(), *network.buffers())))
    return [(name, value) for name, value in network.state_dict(keep_vars=True).items() if id(value) in own]


def _versions(tensors: Iterable[tuple[str, object]]) -> dict[str, tuple[int, int]]:
    """Return what changes when a parameter or buffer is replaced, or written to."""
    return {
        name: (id(value), value._version)
        for name, value in tensors
        if isinstance(value, Tensor) and not value.is_inference()
    }


def _changed(before: Mapping[str, tuple[int, int]], tensors: Iterable[tuple[str, object]]) -> list[str]:
    return [name for name, version in _versions(tensors).items() if version != before.get(name)]


def _objection(traced: _Run, read: _Run) -> str:
    dtype = read.logits.dtype  # of the network; pooled activations have been made float32
    if not traced.end.same(read.end):
        return "it does not draw the random numbers that the network draws"
    if not agree(traced.logits, read.logits, dtype):
        return "its logits are not those of the network"
    for name, expected in read.features.items():
        if not agree(traced.features[name], expected, dtype):
            return f"its activations at {name!r} are not those of the module"
    return ""
