"""What commands will take, as a table of plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from lit_knn.doctor.forecast import duration, size
from lit_knn.doctor.study import Step

HEAD = ("", "images", "passes of each", "time of one process", "bytes written")


def study_table(steps: Sequence[Step], tasks: int = 1) -> Iterator[str]:
    """Yield the lines of a table, and of their sum.

    Args:
        steps: In their order, at least one.
        tasks: Of an array that share what they can.
    """
    rows = [HEAD, *(_row(step, tasks) for step in steps), _sum(steps)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        yield "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip()


def _row(step: Step, tasks: int) -> tuple[str, ...]:
    each = " an image" if step.images is None else ""
    images = "?" if step.images is None else f"{step.images:,}" if step.images else ""
    time = ""
    if step.seconds is None:
        time = "?"
    elif step.seconds:
        most = "at most " if step.most else ""
        if step.images is None:
            time = f"{most}{step.seconds:.2g} s{each}"
        else:
            whole = step.seconds * step.images
            time = most + duration(whole)
            time += f", {duration(whole / tasks)} in each of {tasks}" if step.shared and tasks > 1 else ""
    written = "?" if step.written is None else size(step.written) + each if step.written else ""
    return step.name, images, "" if step.passes is None else f"{step.passes:,}", time, written


def _sum(steps: Sequence[Step]) -> tuple[str, ...]:
    """Return the last row; what is not known of a step is left out, which a word says."""
    times = [None if step.seconds is None or step.images is None else step.seconds * step.images for step in steps]
    written = [None if step.images is None else step.written for step in steps]
    return ("in all", "", "", _total(times, duration), _total(written, size))


def _total(values: Sequence[float | None], told: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    least = "" if len(known) == len(values) else "more than "
    return least + told(sum(known))
