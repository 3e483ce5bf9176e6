"""Labels as they are written beside an image: in a text of their own, or in metadata."""

from __future__ import annotations

import json
import re

from lit_knn.data.decoding import ImageError
from lit_knn.errors import UserError


def text_label(where: str, text: bytes) -> int | str:
    """Return the class in a text, a number or a name.

    Raises:
        UserError: If it is no text.
    """
    try:
        return _number_or_word(text.decode())
    except ValueError as error:
        raise UserError(f"{where} holds no class but {text[:40]!r}") from error


def _number_or_word(text: str) -> int | str:
    word = text.strip()
    return int(word) if re.fullmatch(r"[+-]?\d+", word) else word


def json_label(where: str, text: bytes) -> int | str | None:
    """Return the class in metadata, a number or a name; None if it tells none.

    Raises:
        ImageError: If it is no JSON object.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{where} is damaged: {text[:40]!r}") from error
    if not isinstance(fields, dict):
        raise ImageError(f"{where} holds no object but {text[:40]!r}")
    label = fields.get("label", fields.get("cls"))
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    label = _number_or_word(label) if isinstance(label, str) else label
    return label if type(label) in (int, str) and label != -1 else None
