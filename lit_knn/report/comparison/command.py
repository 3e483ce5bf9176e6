"""``lit-knn compare A B``: no configuration, no PyTorch, two runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lit_knn.errors import UserError
from lit_knn.report.arguments import Arguments
from lit_knn.report.comparison.differences import compare as compare_runs
from lit_knn.report.comparison.document import document
from lit_knn.report.comparison.exports import as_csv, as_json
from lit_knn.report.rendering.markdown import markdown
from lit_knn.report.rendering.terminal import show
from lit_knn.report.results.runs import Run, find_runs

MOST = 20  # differences that are listed for people
FORMATS = ("table", "markdown", "csv", "json")


def compare(arguments: Sequence[str]) -> None:
    """Print which results of two runs differ, by how much, whether beyond sampling error, and which settings differ.

    Args:
        arguments: Of the command line, after ``compare``.

    Raises:
        UserError: If one of them is no finished run, or a file of it cannot be read.
    """
    parser = Arguments(
        "compare", "Which results of two runs differ, by how much, beyond sampling error or not; which settings differ."
    )
    parser.add_argument("a", type=Path, metavar="A", help="run folder, or its record")
    parser.add_argument("b", type=Path, metavar="B", help="the other one; differences are B − A")
    parser.add_argument("--format", choices=FORMATS, default="table", help="csv and json have all differences")
    parser.add_argument("--most", type=int, default=MOST, help=f"largest differences to list, {MOST} by default")
    given = parser.parse_args(arguments)
    if given.most < 1:
        raise UserError(f"compare: --most is {given.most}; whole numbers from 1 are accepted")
    a, b = _run(given.a), _run(given.b)
    found = compare_runs(a, b)
    match given.format:
        case "csv":
            print(as_csv(found), end="")
        case "json":
            print(as_json(a, b, found), end="")
        case "markdown":
            print(markdown(document(a, b, found, given.most), Path()), end="")
        case _:
            show(document(a, b, found, given.most), Console())


def _run(path: Path) -> Run:
    """Return the one finished run that a path is.

    Raises:
        UserError: If it is none, or several.
    """
    runs = find_runs([path])
    labels = [*(run.label for run in runs.finished), *runs.unfinished]
    if len(labels) > 1:
        raise UserError(f"compare: {path} holds {len(labels)} runs, {', '.join(labels)}; give one of them")
    return runs.finished[0]._replace(folder=path.parent if path.is_file() else path)
