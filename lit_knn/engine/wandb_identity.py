"""Which run of wandb a command is, as far as nobody has chosen: its folder, name, group, kind and id."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import WandbLogger

from lit_knn.storage.atomic import write_text

ID_FILE = "wandb-id"
VARIABLES = {
    "dir": "WANDB_DIR",
    "group": "WANDB_RUN_GROUP",
    "id": "WANDB_RUN_ID",
    "job_type": "WANDB_JOB_TYPE",
    "name": "WANDB_NAME",
}


def identify(logger: WandbLogger, command: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Fill in what neither the logger's arguments nor the variables of wandb say; one process does it for all.

    The type of the job is the command, and the tasks of a Slurm array are a group. A test is called like its folder,
    and goes on as the same run of wandb after an interruption: its id is kept in the folder until `forget`.

    Args:
        logger: Before it has begun its run; later nothing changes any more.
        command: Of `lit-knn`.
        folder: Where wandb writes: of a test that of the run.
        environment: Of the process.
    """
    if logger._experiment is not None:
        return
    chosen = logger._wandb_init
    if chosen["dir"] == ".":  # Lightning's own default, which would go over the variable
        chosen["dir"] = None
    ours = {"dir": str(folder), "group": environment.get("SLURM_ARRAY_JOB_ID"), "job_type": command}
    if command == "test":
        known = chosen["id"] or environment.get(VARIABLES["id"])
        ours |= {"name": folder.name, "id": known or _kept_id(folder)}
    chosen |= {key: environment.get(VARIABLES[key]) or value for key, value in ours.items() if not chosen.get(key)}
    logger._save_dir, logger._name, logger._id = chosen["dir"], chosen["name"], chosen["id"]


def forget(folder: Path) -> None:
    """Let the next test in a folder be another run of wandb: the results of this one have been logged."""
    (folder / ID_FILE).unlink(missing_ok=True)


def _kept_id(folder: Path) -> str:
    path = folder / ID_FILE
    if not path.is_file():
        write_text(path, secrets.token_hex(4))
    return path.read_text()
