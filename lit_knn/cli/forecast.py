"""``lit-knn forecast``: what commands will take, one a line of standard input."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lit_knn.backbones import set_precision
from lit_knn.cli.unrun import Unrun, unrun
from lit_knn.doctor.study import Command, Step, Study
from lit_knn.doctor.study_table import study_table
from lit_knn.engine.examined import as_in_a_run
from lit_knn.errors import UserError

KINDS = ("fit", "extract", "index", "test", "report")


def forecast(args: Sequence[str]) -> None:
    """Print hours and bytes of each command, and of all.

    Args:
        args: Of the command line.

    Raises:
        UserError: If a line is no command, or none is there.
    """
    parser = argparse.ArgumentParser(
        prog="lit-knn forecast",
        description="Hours and bytes of commands, one a line of standard input, at the rates of this machine.",
        epilog="slurm/submit configs/paper --local --dry-run --no-forecast | lit-knn forecast",
    )
    parser.add_argument("--tasks", type=int, default=1, metavar="N", help="of the array that fits and extracts (1)")
    tasks = parser.parse_args(args).tasks
    commands = [shlex.split(line, comments=True) for line in sys.stdin]
    steps, study = list[Step](), Study()
    with _quietly():
        for number, words in enumerate(filter(None, commands), 1):
            if words[0] != "lit-knn" or words[1:2] == [] or words[1] not in KINDS:
                raise UserError(f"{shlex.join(words)} is no command with a forecast: accepted are {', '.join(KINDS)}")
            if words[1] != "report":
                steps += _steps(study, words[1:], number)
    if not steps:
        raise UserError("standard input has no command, such as: lit-knn test --config configs/quickstart.yaml")
    print("As if nothing had been done yet, without searches and figures, at rates measured here and now:")
    for line in study_table(steps, tasks):
        print(line)
    for sentence in study.untold:
        print(f"what is missing cannot be told: {sentence}")


def _steps(study: Study, words: Sequence[str], number: int) -> list[Step]:
    """Return the steps of a command; with a number where the user has not named its run."""
    try:
        cli = unrun(words)
        settings = cli.config[words[0]]
        stage = settings.get("stage") or "all"
        named = settings.trainer.run if words[0] == "test" else "" if stage == "all" else stage
        name = " ".join(filter(None, [words[0], named or f"{number}" * (words[0] == "test")]))
        return _of(study, cli, words[0], name, stage)
    except UserError as error:
        study.untold.append(" ".join(str(error).split()))
        return [Step(" ".join(words[:1]), None, None, None, None)]


def _of(study: Study, cli: Unrun, kind: str, name: str, stage: str) -> list[Step]:
    trainer, evaluation = cli.trainer, cli.model
    set_precision(evaluation, trainer.precision)
    with as_in_a_run(trainer, evaluation):
        device, precision = trainer.strategy.root_device, str(trainer.precision)
        return study.steps(Command(kind, name, evaluation, cli.datamodule, device, precision, cli.queries, stage))


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave out what is said of networks that only stand in for others, and of a Trainer that runs nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
