"""A Trainer that knows which run it is: what callbacks write into its folder and record."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher

from lit_knn.distributed.collectives import join
from lit_knn.distributed.slurm import job_id
from lit_knn.engine.wandb_identity import identify
from lit_knn.errors import UserError, WriteError
from lit_knn.evaluation.run_context import RunContext
from lit_knn.storage.atomic import writing

LEAVING_SECONDS = 10.0  # from the end of the last piece of work to that of the process


class RunTrainer(Trainer):
    """A Trainer with a folder of this run.

    Args:
        run: Name of the folder below ``default_root_dir``; that of an interrupted run makes it go on. By default the
            job's number under SLURM, which a requeued job keeps, and elsewhere the next free one.

    Attributes:
        run_config: The whole configuration, as YAML would give it.
        seconds: What each command took.
        grace: Seconds in which this process has to end after another has failed.
        command: What was asked for; a test may begin with others, and stays a test.
        pause: Called between pieces of work; may raise.
    """

    def __init__(self, *args: Any, run: str = "", **kwargs: Any) -> None:
        if run and (run in (".", "..") or "/" in run or "\0" in run):
            raise UserError(
                f"trainer.run is {run!r}; the name of one folder below trainer.default_root_dir is accepted"
            )
        super().__init__(*args, **kwargs)
        if isinstance(self.strategy.launcher, _MultiProcessingLauncher):
            raise UserError(
                "trainer.strategy lets processes begin in the middle of a command; ddp and auto are accepted"
            )
        self.run = run
        self.run_config: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.grace = LEAVING_SECONDS
        self.command = ""
        self.pause: Callable[[], object] = bool
        self._set_up_environment = self.strategy.setup_environment
        self.strategy.setup_environment = self._meet_others  # type: ignore[method-assign]

    def _meet_others(self) -> None:
        """Start the processes, which get to know each other before anything can fail in one of them."""
        self._set_up_environment()
        join(self, grace=self.grace)
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                folder = self.run_folder if self.keeps_record else Path(self.default_root_dir)
                if self.is_global_zero:
                    identify(logger, self.command, folder, os.environ)

    @property
    def keeps_record(self) -> bool:
        """Whether what it does is a run, and so has a folder."""
        return self.command == "test"

    @cached_property
    def run_folder(self) -> Path:
        """The folder of this run; to be asked for first by all processes together."""
        root = Path(self.default_root_dir)
        name = self.run or job_id(os.environ)
        folder = root / name
        if self.is_global_zero:
            folder = _make_folder(root, name)
        return self.strategy.broadcast(folder)

    @property
    def run_context(self) -> RunContext:
        """What a test may know of its run; to be asked for first by all processes together."""
        tell = getattr(self.progress_bar_callback, "tell", str)
        return RunContext(self.run_folder if self.keeps_record else None, tell, self.pause)

    def what_goes_on(self, command: str) -> str:
        """Say how to go on with a command that was stopped."""
        if command in ("verify", "taps", "doctor"):
            return "the same command starts again"
        if command != "test" or self.run or job_id(os.environ):
            return "the same command goes on"
        if "run_folder" in self.__dict__:
            return f"the same command with --trainer.run={self.run_folder.name} goes on"
        return "the same command starts again"


def require_replaceable(*paths: Path) -> None:
    """Refuse, before work is done for them, files that could not be put in their places.

    Raises:
        WriteError: If a folder has the name of one.
    """
    for path in paths:
        if path.is_dir():
            raise WriteError(f"{path} cannot be written: it is a folder; remove it")


def _make_folder(root: Path, name: str) -> Path:
    """Make the named folder below ``root``, or else the next numbered one that nobody has made yet."""
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    if name:
        with writing(root / name):
            (root / name).mkdir(exist_ok=True)
        return root / name
    while True:
        numbers = [int(path.name[4:]) for path in root.glob("run-*") if path.name[4:].isdigit()]
        folder = root / f"run-{max(numbers, default=0) + 1:03d}"
        try:
            with writing(folder):
                folder.mkdir()
        except WriteError as error:
            if isinstance(error.__cause__, FileExistsError):  # another run took the number in between
                continue
            raise
        return folder
