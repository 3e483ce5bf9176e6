"""jsonargparse's complaints as one sentence: what is wrong, where, and what is known."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping

UNION = re.compile(r"Does not validate against any of the Union subtypes\s+Subtypes:.*?Errors:\s+- ", re.DOTALL)
REST_OF_UNION = re.compile(r"\s+- Expected a <class 'NoneType'>.*|\s+Given value type:.*", re.DOTALL)
LAST_UNION = re.compile(  # of the innermost key: its lines are indented alike
    r'Parser key "[^"\n]+":\n *Does not validate[^\n]*\n( *)Subtypes: \[([^\n]*)\]\n.*?\n\1Given value: ([^\n]*)',
    re.DOTALL,
)
PLAIN = re.compile(r"(?:<class '(?:int|float|str|bool|NoneType)'>|(?:list|dict)\[[\w |,]+\])(?:, |$)")
LIST = re.compile(r"(?:Got|Given) value: (\[.*\])")
KEY = re.compile(r'Parser key "([\w.\[\]]+)":\s*')


def explain(message: str, keys: Iterable[str], contracts: Mapping[str, type]) -> str:
    """Return one sentence.

    Args:
        message: What jsonargparse says, over any number of lines.
        keys: Every key of the configuration, such as ``model.attacks``.
        contracts: The base class of what a key names, by the last part of the key.
    """
    whole = message
    inner = LAST_UNION.match(message, max(message.rfind('Parser key "'), 0))
    message = REST_OF_UNION.sub("", UNION.sub("", message))
    where = ".".join(KEY.findall(message))
    what = " ".join(KEY.sub("", message).replace("- Expected a path but", "Expected a path but").split())
    known = _subclasses(contracts[last]) if (last := where.rpartition(".")[2]) in contracts else []

    if inner and not PLAIN.sub("", inner[2]):
        types = (
            re.sub(r"<class '(\w+)'>|typing\.Literal\[(.*?)\]", r"\1\2", inner[2])
            .replace("NoneType", "null")
            .replace("None", "null")
        )
        return f"{where} is {inner[3]}; accepted are {types}"
    if found := re.search(r"(?:unrecognized arguments: --|does not accept option ')([\w.+]+)", what):
        return f"there is no key {found[1]!r}{_near(found[1], keys)}"
    if found := re.search(r"Option '(\w+)' is not accepted", what):
        options = {name for cls in known for name in inspect.signature(cls).parameters}
        if takers := sorted(cls.__name__ for cls in known if found[1] in inspect.signature(cls).parameters):
            return f"{where}: there is no option {found[1]!r} of the class that is named, but of {', '.join(takers)}"
        return f"{where}: there is no option {found[1]!r}{_near(found[1], options or keys)}"
    if known and (found := re.search(r"Expected a (?:dot import path string: |path but )(\w+)", what)):
        names = ", ".join(sorted(cls.__name__ for cls in known))
        if found[1] in names.split(", ") and "Expected a <class 'list'>" in what:
            return f"{where} is {found[1]}; a list is accepted, such as [{found[1]}]"
        return f"{where}: there is no class {found[1]!r}; known are {names}, and any other by its import path"
    if (found := re.search(r"Not a valid subclass of (\w+)", what)) and (value := LIST.search(whole)):
        return f"{where} is {value[1]}; a single {found[1]} is accepted, not a list"
    if found := re.search(r"Literal\[(.*?)\]\. Got value: (.*)", what):
        return f"{where} is {found[2]}; accepted are {found[1]}"
    if found := re.search(r"Expected a <class '(.*?)'>\. Got value: (.*)", what):
        return f"{where} is {found[2]}; a value of type {found[1]} is accepted"
    if found := re.search(r"arguments are required: (.*)", what):
        lacking = found[1].split(" - ")[0].split(", ")
        missing = ", ".join(f"{where}.{name}" if where else name.partition(".")[2] for name in lacking)
        return f"the configuration lacks {missing}: give a file with --config, such as configs/quickstart.yaml"
    return f"{where}: {what}" if where else what


def _subclasses(base: type) -> list[type]:
    """Return what YAML can build of a contract."""
    found: dict[type, None] = {}  # ordered, and a class with two parents counts once
    children: list[type] = base.__subclasses__()
    for child in children:
        found |= dict.fromkeys([child, *_subclasses(child)])
    return [cls for cls in found if not inspect.isabstract(cls)]


def _near(name: str, known: Iterable[str]) -> str:
    """Return the known names that are most like one, as the end of a sentence."""
    parents = {".".join(parts) for key in known for parts in [key.split(".")[:depth] for depth in (1, 2, 3)]}
    near = difflib.get_close_matches(name, sorted({*known, *parents}), n=5, cutoff=0.5)
    return f"; near it are {', '.join(near)}" if near else "; `--print_config` shows all keys"
