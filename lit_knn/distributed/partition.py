"""Which share of a job this command does: ``--part 3/16``, or what a Slurm array says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lit_knn.distributed.slurm import number
from lit_knn.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Partition:
    """One of several parts of equal size, give or take one.

    Attributes:
        number: From 1 to ``count``.
        count: How many parts there are; by default the one part is the whole.

    Raises:
        UserError: If there is no such part.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UserError(f"there is no part {self}: parts go from 1/{self.count} to {self.count}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> Partition:
        """Read ``3/16``; an empty text leaves it to the environment.

        Raises:
            UserError: For anything else.
        """
        if not text:
            return cls.from_environment(os.environ)
        match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if match is None or not int(match[2]):
            raise UserError(f"part is {text!r}: accepted are 1/16 to 16/16, or any other number of parts")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Partition:
        """Return the place of a task in its Slurm array, wherever that starts; the whole outside of arrays.

        Raises:
            UserError: If the numbers of the array are not evenly spaced.
        """
        if "SLURM_ARRAY_TASK_ID" not in environment:
            return cls()
        task, first, last, step, count = (
            number(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX", "STEP", "COUNT")
        )
        if not step or not count or first + step * (count - 1) != last or (task - first) % step:
            raise UserError(
                f"the Slurm array of {count} tasks from {first} to {last} in steps of {step} has gaps: "
                "set --part, or submit it as FIRST-LAST or FIRST-LAST:STEP"
            )
        return cls((task - first) // step + 1, count)

    @property
    def is_whole(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Return this part of a sequence, consecutive: all parts in order are the sequence."""
        size = len(items)
        return items[size * (self.number - 1) // self.count : size * self.number // self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


WHOLE = Partition()
