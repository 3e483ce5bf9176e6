"""What data was made from: names and values that must be equal before two pieces of it are used together.

A fingerprint is made of what `lit_knn.storage.description.describe` and the ``identity()`` of parts return, compared by
`fingerprint_difference`, written and read with its checksum by `to_text` and `from_text`, and hashed by `digest`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from lit_knn.storage.reading import parse_json

Fingerprint = dict[str, Any]  # by name, values as JSON has them
CHECKSUM = "checksum of the above"
TOLD = 3  # differences that one sentence names


def fingerprint_difference(expected: Fingerprint, found: Fingerprint) -> str:
    """Name the first three values in which two fingerprints differ, however deep, with both; "" if they are equal.

    Example:
        >>> fingerprint_difference({"tap": "a", "index": {"k": 5}}, {"tap": "a", "index": {"k": 3}})
        'index.k is 3 where 5 is expected'
    """
    wanted, there = (
        {key: leaf for name, value in fingerprint.items() for key, leaf in _leaves((name,), value)}
        for fingerprint in (expected, found)
    )
    differing = [
        f"{'.'.join(map(str, name))} is {there.get(name, 'absent')!r} where {wanted.get(name, 'absent')!r} is expected"
        for name in sorted({*wanted, *there}, key=str)
        if not (name in wanted and name in there and repr(wanted[name]) == repr(there[name]))  # 1 is not 1.0, nor true
    ]
    return ", ".join(differing[:TOLD]) + (f", and {len(differing) - TOLD} more" if len(differing) > TOLD else "")


def digest(content: Any, digits: int = 16) -> str:
    """Return the first hexadecimal digits of a SHA-256 of a fingerprint, or of other JSON: equal ones have the same."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:digits]


def to_text(fingerprint: Fingerprint) -> str:
    """Return JSON with a checksum, so that `from_text` tells damage from difference."""
    return json.dumps(fingerprint | {CHECKSUM: digest(fingerprint)}, indent=1, sort_keys=True) + "\n"


def from_text(text: str | bytes) -> Fingerprint:
    """Return what `to_text` was given.

    Raises:
        ValueError: If the text has changed since.
    """
    fingerprint: Fingerprint = parse_json(text, dict)
    if fingerprint.pop(CHECKSUM, "") != digest(fingerprint):
        raise ValueError("its checksum is another")
    return fingerprint


def _leaves(name: tuple[str | int, ...], content: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield what is neither a list nor a dictionary, or is an empty one, with the keys that lead to it."""
    if not isinstance(content, dict | list) or not content:
        yield name, content
        return
    parts: Iterable[tuple[Any, Any]] = content.items() if isinstance(content, dict) else enumerate(content)
    for key, inner in parts:
        yield from _leaves((*name, key), inner)
