"""YAML files: text in UTF-8 with keys, none of them twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import yaml

from lit_knn.errors import UserError


def check_files(args: Sequence[str], variable: str | None = None) -> None:
    """Refuse configuration files of which the parser would take a part, or none, without a word.

    Args:
        args: Of the command line.
        variable: Name of another file, from the environment.

    Raises:
        UserError: If a file is no text in UTF-8, has no keys, or has one twice: YAML's loaders take the last.
    """
    paths = [arg.partition("=")[2] for arg in args if arg.startswith("--config=")]
    paths += [after for arg, after in pairwise(args) if arg in ("--config", "-c")]
    for path in map(Path, [*paths, *filter(None, [variable])]):
        if path.is_file():  # of what does not exist the parser speaks
            _check(path)


def _check(path: Path) -> None:
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 (byte {error.start}): save it as such") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(root, yaml.MappingNode):
        what = "empty" if root is None else "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        raise UserError(f"{path} is {what}: a configuration has keys such as model and data")
    for key, first, second in _twice(root, [], set()):
        raise UserError(f"{path} has the key {key} twice, in line {first} and in line {second}: leave one of them out")


def _twice(node: yaml.Node, above: list[str], seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Yield each key that a mapping has twice, and the lines; what an alias repeats is looked at once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for place, child in enumerate(node.value):
            yield from _twice(child, [*above, str(place)], seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, child in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                yield ".".join([*above, name]), lines[name], line
            lines[name] = line
            yield from _twice(child, [*above, name], seen)
