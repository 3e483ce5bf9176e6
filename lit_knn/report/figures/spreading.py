"""Places for names that would lie over each other."""

from __future__ import annotations

from collections.abc import Sequence


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places at least a gap apart and within bounds, in the order of what is wanted and as near to it as can be.

    Nearest by the sum of squares, without the bounds: isotonic regression by pooling adjacent violators.

    Args:
        wanted: N places; of equal ones the first is to be lowest.
        gap: Between neighbors.
        low: Of the lowest.
        high: Of the highest; at least ``low + (N - 1) * gap``.

    Returns:
        A place for each of ``wanted``.
    """
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    blocks: list[tuple[float, int]] = []  # mean and size, ascending once the gaps are taken off
    for number, place in enumerate(order):
        mean, size = wanted[place] - number * gap, 1
        while blocks and blocks[-1][0] >= mean:
            other, more = blocks.pop()
            mean, size = (mean * size + other * more) / (size + more), size + more
        blocks.append((mean, size))
    highest = high - (len(wanted) - 1) * gap
    free = [min(max(mean, low), highest) for mean, size in blocks for _ in range(size)]
    found = dict(zip(order, (mean + number * gap for number, mean in enumerate(free)), strict=True))
    return [found[place] for place in range(len(wanted))]
