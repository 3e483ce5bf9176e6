"""LightningCLI over `EvalTrainer`, `Evaluation` and `ImageData`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from jsonargparse import ArgumentError, Namespace
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lit_knn.attacks import Attack
from lit_knn.attacks.objectives import Objective
from lit_knn.cli.class_names import foreign_names, with_kinds
from lit_knn.cli.config_errors import explain
from lit_knn.cli.config_files import check_files
from lit_knn.cli.config_values import check_configuration, check_environment
from lit_knn.data import ImageData, ImageSource
from lit_knn.database.index import Index
from lit_knn.defenses import Defense, Transformation, Weighting
from lit_knn.distributed.slurm import check_request, check_tasks
from lit_knn.doctor.examination import images
from lit_knn.doctor.machine import machine
from lit_knn.doctor.telling import failure, tell
from lit_knn.engine.chatter import silence
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import TracedError, UserError
from lit_knn.evaluation.checks import Check
from lit_knn.evaluation.module import Evaluation
from lit_knn.threat_models import Threat

if TYPE_CHECKING:
    from pytorch_lightning.cli import ArgsType

CONTRACTS = {  # what a key of the configuration names
    "attacks": Attack,
    "callbacks": Callback,
    "checks": Check,
    "database": ImageSource,
    "defense": Defense,
    "defenses": Defense,
    "index": Index,
    "logger": Logger,
    "objective": Objective,
    "queries": ImageSource,
    "threats": Threat,
    "transformation": Transformation,
    "weightings": Weighting,
}
TRAINING_ONLY = {
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "overfit_batches", "val_check_interval"),
    *("limit_train_batches", "limit_val_batches", "check_val_every_n_epoch", "num_sanity_val_steps"),
    *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "sync_batchnorm", "barebones"),
    *("reload_dataloaders_every_n_epochs", "enable_checkpointing", "detect_anomaly", "model_registry"),
    *("log_every_n_steps", "enable_model_summary", "enable_autolog_hparams", "fast_dev_run", "limit_predict_batches"),
}
PREFIX = "LIT_KNN"
COMMANDS = ("doctor", "taps", "fit", "extract", "index", "test", "verify")


class KNNCLI(LightningCLI):
    """The commands are the methods of `EvalTrainer`; all take the same configuration.

    Args:
        args: As of `lit_knn.cli.main.main`.
        parser_kwargs: Of all parsers.
        **settings: Of `LightningCLI`.
    """

    trainer: EvalTrainer

    def __init__(self, *, args: ArgsType, parser_kwargs: dict[str, Any], **settings: Any) -> None:
        self._given = sys.argv[1:] if args is None else args if isinstance(args, list) else []
        # a parser takes half a second: only those that may be asked
        self._commands = [name for name in self._given[:1] if name in COMMANDS] or COMMANDS
        each = {name: {"exit_on_error": parser_kwargs["exit_on_error"]} for name in self._commands}
        super().__init__(args=args, parser_kwargs={**parser_kwargs, **each}, **settings)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return commands, and the parameters that are no options."""
        return {command: {"model", "datamodule"} for command in self._commands}

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Leave out of the Trainer's options what concerns training only."""
        parser.add_class_arguments(
            self.trainer_class, "trainer", fail_untyped=False, instantiate=False, sub_configs=True, skip=TRAINING_ONLY
        )
        parser.set_defaults({f"trainer.{key}": value for key, value in self.trainer_defaults.items()})
        parser.add_lightning_class_args(self._model_class, "model")
        parser.add_lightning_class_args(self._datamodule_class, "data")
        parser.add_argument(
            "--paper",
            type=dict[str, str | int] | None,
            help="where in the paper the results would stand, such as {table: '2', row: IN-1.3M}; kept in the record",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and answer a mistake with one sentence instead of a page of usage.

        Raises:
            UserError: If a key, class or value is wrong.
        """
        command = "".join(self._given[:1]).upper()
        check_files(self._given, os.environ.get(f"{PREFIX}_{command}__CONFIG"))
        names = [f"{PREFIX}_{action.dest}" for action in parser._actions]
        for name, inner in self._subcommand_parsers.items():
            names += [f"{PREFIX}_{name}__{action.dest}" for action in inner._actions]
        known = [name.replace(".", "__").upper() for name in names]
        others = tuple(f"{PREFIX}_{name}__".upper() for name in COMMANDS if name not in self._commands)
        read = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        check_environment(read, f"{PREFIX}_", known)
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            actions = self._subcommand_parsers.get(command.lower(), parser)._actions
            keys = {action.dest for action in actions if not action.dest.endswith(".help")}
            raise UserError(explain(str(error), keys, CONTRACTS)) from error
        if chosen := self.config.get("subcommand"):
            check_configuration(self.config[chosen].as_dict(), {"model": Evaluation, "data": ImageData})

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer, and let what Lightning refuses be one sentence.

        Raises:
            UserError: If it refuses a setting.
        """
        try:
            return super().instantiate_trainer(**kwargs)
        except UserError:
            raise
        except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError, OSError) as error:
            raise UserError(f"PyTorch Lightning refuses the trainer: {' '.join(str(error).split())}") from error

    def before_instantiate_classes(self) -> None:
        """Refuse a job whose tasks Lightning cannot count."""
        check_request(os.environ)

    def instantiate_classes(self) -> None:
        """Build, and let the sentence of a part that refuses its arguments out of a page about unions.

        Raises:
            UserError: If a part does.
        """
        with self._traceback_in_a_file():
            try:
                super().instantiate_classes()
            except ValueError as error:
                cause: BaseException | None = error
                while not isinstance(cause, UserError | None):
                    cause = cause.__cause__
                if cause is None:
                    raise
                if self.subcommand == "doctor":
                    self._tell_without_model(cause)
                raise cause from error

    def _tell_without_model(self, why: UserError) -> None:
        """Let the doctor say what it can where the model cannot be built, as without a network's download.

        Raises:
            SystemExit: Once it has.
        """
        parser = LightningArgumentParser()
        parser.add_lightning_class_args(ImageData, "data")
        built = parser.instantiate_classes(Namespace(data=self.config[self.subcommand].data))
        tell([*machine(), *images(built.data), failure("model", why)])

    def after_instantiate_classes(self) -> None:
        """Hand the configuration to the record, and refuse a job whose tasks would each run everything."""
        dump = self.parser.dump(self.config, skip_link_targets=False, skip_none=False, format="yaml")
        self.trainer.run_config = with_kinds(yaml.safe_load(dump)[self.subcommand], foreign_names(CONTRACTS.values()))
        if SLURMEnvironment.detect():
            check_tasks(os.environ, self.trainer.num_devices, self.trainer.num_nodes)

    def _run_subcommand(self, subcommand: str) -> None:
        with self._traceback_in_a_file():
            super()._run_subcommand(subcommand)

    @contextmanager
    def _traceback_in_a_file(self) -> Iterator[None]:
        """Keep what the user's own code raises in the folder of the run, or of all runs as long as there is none."""
        try:
            yield
        except TracedError as error:
            runs = Path(self.config[self.subcommand].trainer.default_root_dir)
            trainer = vars(self).get("trainer")
            raise error.kept_in(vars(trainer).get("run_folder", runs) if trainer else runs) from error


Line = TypeVar("Line", bound=KNNCLI)


def run(args: ArgsType = None) -> None:
    """Parse, build and run; see `lit_knn.cli.main.main`."""
    logging.getLogger("lit_knn").setLevel(logging.INFO)
    logging.getLogger("lit_knn").handlers = [logging.StreamHandler()]
    start(KNNCLI, args)


def start(cli: type[Line], args: ArgsType) -> Line:
    """Return a command line that has parsed, built and run."""
    silence()
    return cli(
        model_class=Evaluation,
        datamodule_class=ImageData,
        trainer_class=EvalTrainer,
        args=args,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        save_config_callback=None,
        parser_kwargs={"default_env": True, "env_prefix": PREFIX, "exit_on_error": False},
        trainer_defaults={
            "default_root_dir": "runs",
            "logger": False,
            "deterministic": "warn",
        },
    )
