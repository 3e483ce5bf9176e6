"""What data was made from, as names and values that must be equal before two pieces of it are used together."""

from __future__ import annotations

Fingerprint = dict[str, str]


def fingerprint_difference(expected: Fingerprint, found: Fingerprint) -> str:
    """Return one sentence that names each entry in which two fingerprints differ, or "" if they are equal.

    Example:
        >>> fingerprint_difference({"tap": "a", "data": "x"}, {"tap": "b", "data": "x"})
        "tap is 'b' there, but 'a' here"
    """
    return "; ".join(
        f"{name} is {found.get(name, 'absent')!r} there, but {expected.get(name, 'absent')!r} here"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    )
