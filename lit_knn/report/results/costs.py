"""What it costs to ask a defense once."""

from __future__ import annotations

from typing import Literal, TypedDict


class Cost(TypedDict):
    """What an answer of one defense to one image costs, measured on the first batch of a run, clean.

    Attributes:
        defense: What all lines of its results have in common, in words; the first of all costs is of no defense.
        random: Whether it may answer another time otherwise.
        gradient: Whether an attacker who copies it has a gradient to follow: the defense's ``own``, one ``lent`` to
            their copy, or ``none``.
        passes: Images that networks were given, as far as to a tap or to the logits.
        images: Number of images that were timed together.
        seconds: Of an image.
        cpu_seconds: Of an image, in all threads of the process.
    """

    defense: str
    random: bool
    gradient: Literal["own", "lent", "none"]
    passes: float
    images: int
    seconds: float
    cpu_seconds: float


COST_FORM = {
    "defense": str,
    "random": bool,
    "gradient": str,
    "passes": int | float,
    "images": int,
    "seconds": int | float,
    "cpu_seconds": int | float,
}
