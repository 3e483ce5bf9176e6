"""jsonargparse's complaints as one sentence: what is wrong, where, and what is accepted.

A complaint is indented text: keys, the classes that they name, and innermost what is wrong. The kinds that users meet
are told in other words, each by one function; whatever is none of them is jsonargparse's own message, whole.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import PurePath
from pkgutil import resolve_name
from textwrap import dedent
from typing import NamedTuple

from lit_knn.cli.class_names import derived

HEAD = re.compile(r" *(?:- )?(?:Parser key \"([^\"]+)\"|Problem with given class_path '([^']+)'):\s*$")


class Complaint(NamedTuple):
    """What jsonargparse says, taken apart.

    Attributes:
        where: The key that it is about, such as ``model.attacks.steps``; empty if it is about all of them.
        built: The import path of the class whose arguments it is about; empty if it is about none.
        text: What is wrong, over any number of lines.
    """

    where: str
    built: str
    text: str


def explain(message: str, keys: Iterable[str], contracts: Mapping[str, type]) -> str:
    """Return one sentence.

    Args:
        message: What jsonargparse says, over any number of lines.
        keys: Every key of the configuration, such as ``model.attacks``.
        contracts: The base class of what a key names, by the last part of the key.
    """
    complaint = _innermost(message)
    told = (
        _missing_keys(complaint, contracts)
        or _unknown_key(complaint, keys)
        or _unknown_option(complaint)
        or _unknown_class(complaint, contracts)
        or _not_importable(complaint)
        or _list_for_one(complaint)
        or _wrong_value(complaint)
    )
    return " ".join((told or message).split()) or "jsonargparse refuses the configuration and does not say why"


def _innermost(message: str) -> Complaint:
    """Follow keys and classes inwards, as long as the complaint is about one of them only."""
    keys: list[str] = []
    built, lines = "", message.splitlines()
    while heads := [(number, found) for number, line in enumerate(lines) if (found := HEAD.match(line))]:
        (first, found), (last, _) = heads[0], heads[-1]
        inner = _deeper(lines[first:])
        if last > first + len(inner):
            break  # several alternatives, of which the user may have meant any
        key, built = found.groups("")
        keys, lines = [*keys, *filter(None, [key])], inner
    return Complaint(".".join(keys), built, dedent("\n".join(lines)).strip())


def _deeper(lines: Sequence[str]) -> list[str]:
    """Return those that follow the first and are indented deeper."""
    depth = [len(line) - len(line.lstrip()) if line.strip() else sys.maxsize for line in lines]
    return [line for line, _ in takewhile(lambda pair: pair[1] > depth[0], zip(lines[1:], depth[1:], strict=True))]


def _missing_keys(complaint: Complaint, contracts: Mapping[str, type]) -> str | None:
    """Answer ``the following arguments are required: test.data.queries, test.model.attacks``, or as 4.46 says it.

    ``Option 'test.model.attacks' is required but not provided or its value is None.``
    """
    found = re.match(r"the following arguments are required: (.*)|Option '([\w.]+)' is required", complaint.text)
    if found is None:
        return None
    names = (found[1] or found[2]).split(", ")  # with the command in front, unless they are arguments of a class
    name = complaint.built.rpartition(".")[2]
    if any(part.__name__ == name for contract in contracts.values() for part in derived(contract)):  # others go unnamed
        given = ", ".join(f"{option}: …" for option in names)
        return f"{complaint.where}: {name} lacks a value: write {{class_path: {name}, init_args: {{{given}}}}}"
    missing = ", ".join(f"{complaint.where}.{name}" if complaint.where else name.partition(".")[2] for name in names)
    return f"the configuration lacks {missing}: give a file with --config, such as configs/quickstart.yaml"


def _unknown_key(complaint: Complaint, keys: Iterable[str]) -> str | None:
    """Answer ``unrecognized arguments: --data.batchsize=3``, and what is said of the same key in a file.

    ``Group 'data' does not accept option 'batchsize'`` or
    ``Subcommand 'test' does not accept option 'data.batchsize'``, and of a key that is in no group
    ``Option 'batchsize' is not accepted``.
    """
    if complaint.where or complaint.built:
        return None
    found = re.match(  # the first word is in capitals up to 4.46
        r"(?:[Uu]nrecognized arguments: --|"
        r"(?:Group '([\w.]+)'|Subcommand '\w+') does not accept option '|Option ')([\w.]+)"
        r"(?!.* before subcommand )",
        complaint.text,
    )
    if found is None:
        return None
    name = ".".join(filter(None, found.groups()))
    parents = {".".join(parts) for key in keys for parts in [key.split(".")[:depth] for depth in (1, 2, 3)]}
    return f"there is no key {name!r}{_near(name, {*keys, *parents}) or '; `--print_config` shows all keys'}"


def _unknown_option(complaint: Complaint) -> str | None:
    """Answer ``Option 'stepz' is not accepted`` inside of ``Problem with given class_path 'lit_knn.attacks.PGD':``."""
    found = re.match(r"Option '(\w+)' is not accepted", complaint.text)
    if found is None or not complaint.built:
        return None
    options, name = inspect.signature(resolve_name(complaint.built)).parameters, complaint.built.rpartition(".")[2]
    near = _near(found[1], options) or f"; it takes {', '.join(options) or 'none'}"
    return f"{complaint.where}: {name} has no option {found[1]!r}{near}"


def _unknown_class(complaint: Complaint, contracts: Mapping[str, type]) -> str | None:
    """Answer ``Expected a dot import path string: PDG`` and ``... an instantiatable class, but Attack is abstract``."""
    found = re.search(
        r"^ *(?:- )?(?:(?:Expected (?:a )?dot import path string|Unexpected import path format): (.+)"
        r"|Expected an instantiatable class, but (\w+) is abstract)$",
        complaint.text,
        re.MULTILINE,
    )
    contract = contracts.get(complaint.where.rpartition(".")[2])
    if found is None or contract is None:
        return None
    if found[1] and ".py:" in found[1]:  # as networks are named
        file, _, name = found[1].partition(":")
        path = PurePath(file)
        return (
            f"{complaint.where}: {found[1]!r} is a file, and classes are named by their import path: write "
            f"{path.stem}.{name}, and PYTHONPATH={path.parent} before the command"
        )
    known = ", ".join(sorted(cls.__name__ for cls in {*derived(contract)} if not inspect.isabstract(cls)))
    said = f"there is no class {found[1]!r}" if found[1] else f"{found[2]} is what others derive from"
    return f"{complaint.where}: {said}; known are {known}, and any other by its import path"


def _not_importable(complaint: Complaint) -> str | None:
    """Answer ``No module named 'mine'`` and ``module 'mine' has no attribute 'PGD'`` of a class of the user's own."""
    found = re.fullmatch(r"No module named '([\w.]+)'|module '[\w.]+' has no attribute '\w+'", complaint.text)
    if found is None or not complaint.built:
        return None
    said = f"{complaint.where}: {complaint.built!r} cannot be imported: {complaint.text}"
    own = found[1] is not None and found[1] == complaint.built.partition(".")[0]  # not what it imports itself
    return said + ("; where its file lies here, write PYTHONPATH=. before the command" if own else "")


def _list_for_one(complaint: Complaint) -> str | None:
    """Answer ``Not a valid subclass of ImageSource. Got value: ['Digits']``; in a union ``Given value: ['Digits']``."""
    kind = re.search(r"Not a valid subclass of (\w+)", complaint.text)
    value = re.search(r"^(?:Given|.*Got) value: (\[.*\])$", complaint.text, re.MULTILINE)
    if re.search(r"^Subtypes: .*list\[", complaint.text, re.MULTILINE):
        return None  # one of which is wrong
    return kind and value and f"{complaint.where} is {value[1]}; a single {kind[1]} is accepted, not a list"


def _wrong_value(complaint: Complaint) -> str | None:
    """Answer ``Expected a <class 'int'>. Got value: abc`` and ``Does not validate against any of the Union subtypes``.

    The latter goes on with ``Subtypes: [<class 'int'>, <class 'NoneType'>]``, ``Errors:``, what each of them says, and
    ``Given value: abc``.
    """
    text = re.sub(r"^- Expected (?:a )?path but .* either not accessible or invalid\n- ", "", complaint.text)
    if found := re.match(r"Does not validate .*\nSubtypes: \[(.*)\]\n[\s\S]*\nGiven value: ([\s\S]*)", text):
        if re.search(r"^  - (?!Expected |Does not validate |Not a valid subclass )", text, re.MULTILINE):
            return None  # a reason of its own
        return f"{complaint.where} is {found[2]}; accepted are {_plain(found[1])}"
    found = re.match(r"Expected a (<class '.*'>|typing\.Literal\[.*\])\. Got value: ([\s\S]*)", text)
    if found is None:
        return None
    if found[1] == "<class 'list'>":
        return f"{complaint.where} is {found[2]}; a list is accepted, such as [{found[2]}]"
    if found[1].startswith("typing"):
        return f"{complaint.where} is {found[2]}; accepted are {_plain(found[1])}"
    return f"{complaint.where} is {found[2]}; a value of type {_plain(found[1])} is accepted"


def _plain(types: str) -> str:
    """Return types as Python prints them in the words of YAML."""
    types = re.sub(r"<class '([\w.]+)'>|typing\.Literal\[(.*?)\]", r"\1\2", types)
    return re.sub(r"\bNone(?:Type)?\b", "null", re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])", "", types))


def _near(name: str, known: Iterable[str]) -> str:
    """Return the known names that are most like one, as the end of a sentence; nothing if none is."""
    near = difflib.get_close_matches(name, sorted(known), n=5, cutoff=0.5)
    return f"; near it are {', '.join(near)}" if near else ""
