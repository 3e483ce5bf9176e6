"""What a check has to say about a run."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["pass", "warn", "fail", "skipped"]
"""How a check ends."""


class Finding(NamedTuple):
    """What a check has to say.

    Attributes:
        check: Name of the check.
        verdict: ``skipped`` where the run lacks what the check looks at.
        sentence: What was seen and, but for a pass, what to do.
    """

    check: str
    verdict: Verdict
    sentence: str
