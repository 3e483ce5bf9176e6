"""What data was made from, as names and values that must be equal before two pieces of it are used together."""

from __future__ import annotations

Fingerprint = dict[str, str]


def fingerprint_difference(expected: Fingerprint, found: Fingerprint) -> str:
    """Name each entry in which two fingerprints differ, with both values; "" if they are equal.

    Example:
        >>> fingerprint_difference({"tap": "a", "data": "x"}, {"tap": "b", "data": "x"})
        "tap is 'b' where 'a' is expected"
    """
    return ", ".join(
        f"{name} is {found.get(name, 'absent')!r} where {expected.get(name, 'absent')!r} is expected"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    )
