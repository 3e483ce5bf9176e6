"""A finished run, as a terminal or a notebook shows it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from matplotlib.figure import Figure
from rich.console import Console

from lit_knn.report.figures.curves import DPI, accuracy_figure
from lit_knn.report.rendering.document import Block, Paragraph
from lit_knn.report.rendering.markdown import markdown
from lit_knn.report.rendering.web_page import fragment
from lit_knn.report.results.breaks import BREAKS_FILE
from lit_knn.report.results.record import Record, Row
from lit_knn.report.section import every_attack
from lit_knn.report.summary import summary
from lit_knn.report.table import accuracy_table, cost_table

WIDTH = 120  # letters of a line of text


class RunView:
    """What a run has found: its table, its curve, and the folder that `lit-knn report` takes.

    Everything comes from the record in the folder, so that it can be shown again in another session.

    Args:
        folder: Of a finished run.

    Attributes:
        folder: The same.
        record: All that is known of the run.

    Raises:
        UserError: If there is no record, or it is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.record = Record.load(self.folder)

    @property
    def table(self) -> ResultTable:
        """All results, a dictionary each, which looks like the table of the run."""
        return ResultTable(self.record)

    def curve(self) -> Figure:
        """Return accuracy against the size of the perturbation, a Matplotlib figure."""
        return accuracy_figure(self.record, Shown)

    def __repr__(self) -> str:
        text = io.StringIO()
        print_run(self.record, self.folder, _plain(text))
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        return fragment(self._blocks())

    def _repr_markdown_(self) -> str:
        return markdown(self._blocks(), self.folder)

    def _blocks(self) -> list[Block]:
        said = [Paragraph(sentence) for sentence in summary(self.record).splitlines()]
        warned = [Paragraph(f"{sentence}.", warning=True) for sentence in self.record.warnings]
        return [every_attack(self.record), *said, *warned, Paragraph(f"Folder: {self.folder}")]


class ResultTable(Sequence[Row]):
    """The rows of a record; all of them as a sequence, and those that a person looks at first where it is shown.

    Args:
        record: Of a run with results.
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        return self._record.results[place]

    def __len__(self) -> int:
        return len(self._record.results)

    def __repr__(self) -> str:
        text = io.StringIO()
        _plain(text).print(accuracy_table(self._record))
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        return fragment([every_attack(self._record)])

    def _repr_markdown_(self) -> str:
        return markdown([every_attack(self._record)], Path())


class Shown(Figure):
    """A figure that a notebook shows although nothing has imported ``pyplot``."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=DPI)
        return picture.getvalue()


def print_run(record: Record, folder: Path, console: Console) -> None:
    """Print the tables of a run, what they say in sentences, what to know before, and where it all lies."""
    console.print(accuracy_table(record))
    console.print(cost_table(record))
    console.print(summary(record), highlight=False)
    for sentence in record.warnings:
        console.print(f"Warning: {sentence}.", style="yellow", highlight=False, markup=False)
    console.print(f"Record, results, figures and configuration: {folder}", highlight=False, soft_wrap=True)
    if (folder / BREAKS_FILE).exists():
        console.print(f"Which attack broke each image: {folder / BREAKS_FILE}", highlight=False, soft_wrap=True)


def _plain(text: io.StringIO) -> Console:
    return Console(file=text, width=WIDTH, force_terminal=False, force_jupyter=False, no_color=True)
