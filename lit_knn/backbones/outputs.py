"""What a network returns, as logits."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor
from torch.utils._pytree import tree_leaves

from lit_knn.errors import UserError

WHATEVER = "*"  # in the place of a key: of a network that is asked for its activations only


def logits_of(output: object, key: str | int | None, image: Tensor) -> Tensor:
    """Return the logits in what a network returns.

    Args:
        output: A tensor, or a dict, tuple or object that holds it.
        key: Of that dict, position in that tuple, or attribute of that object; None for a network that returns nothing
            but its logits, and `WHATEVER` for one that need not have any.
        image: ``(N, 3, H, W)``, what it was given.

    Returns:
        ``(N, C)`` float, C > 1; of a network that need not have logits, its first tensor with a row for each image.

    Raises:
        UserError: If there is something else, with what there is.
    """
    if key == WHATEVER:
        return _first_rows(output, image)
    found = output if key is None else _part(output, key)
    if (
        not isinstance(found, Tensor)
        or not found.is_floating_point()
        or found.ndim != 2
        or len(found) != len(image)
        or found.shape[1] < 2
    ):
        where = "the network returns" if key is None else f"the network has at `output` {key!r}"
        name = "" if isinstance(output, Tensor) else "; `output` names the one that holds the logits"
        raise UserError(
            f"{where} {describe(found)} for {len(image)} images, where logits, one float tensor "
            f"({len(image)}, C) of at least two classes, are needed{name}"
        )
    return found


def _first_rows(output: object, image: Tensor) -> Tensor:
    parts = vars(output).values() if hasattr(output, "__dict__") and not isinstance(output, Tensor) else [output]
    for found in tree_leaves(list(parts)):
        if isinstance(found, Tensor) and found.is_floating_point() and found.ndim and len(found) == len(image):
            return found.flatten(1) if found.ndim > 1 else found[:, None]
    raise UserError(
        f"the network returns {describe(output)} for {len(image)} images, where a float tensor with a row for each of "
        "them is needed"
    )


def _part(output: object, key: str | int) -> object:
    if isinstance(output, Mapping) and key in output:
        return output[key]
    if isinstance(output, tuple | list):
        position = int(key) if re.fullmatch(r"-?[0-9]{1,9}", str(key)) else len(output)  # a command line gives text
        if -len(output) <= position < len(output):
            return output[position]
    if isinstance(key, str) and key.isidentifier() and not isinstance(output, Tensor) and hasattr(output, key):
        return getattr(output, key)
    raise UserError(
        f"`output` is {key!r}, but the network returns {describe(output)}"
        + (": leave it out" if isinstance(output, Tensor) else "")
    )


def describe(value: object) -> str:
    """Return what a value is, in words: types, shapes, and the parts of a collection."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {tuple(value.shape)}"
    parts: Mapping[object, object] = {}
    if isinstance(value, Mapping):
        parts = value
    elif isinstance(value, tuple | list):
        parts = dict(enumerate(value))
    elif hasattr(value, "__dict__"):
        parts = {name: part for name, part in vars(value).items() if isinstance(part, Tensor)}
    name = type(value).__name__
    if not parts:
        return "nothing" if value is None else f"a value of type {name}"
    return f"a {name} with " + ", ".join(f"{key!r}: {_brief(part)}" for key, part in list(parts.items())[:8])


def _brief(value: object) -> str:
    return describe(value) if isinstance(value, Tensor) else f"a {type(value).__name__}"
