"""Command lines that need no configuration."""

from __future__ import annotations

import argparse
from typing import NoReturn

from lit_knn.errors import UserError


class Arguments(argparse.ArgumentParser):
    """A parser that says a mistake in one sentence.

    Args:
        command: Its name.
        description: For ``--help``.
    """

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=f"lit-knn {command}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{self.prog.partition(' ')[2]}: {message}; see {self.prog} --help")
