"""What Slurm says of this job, and whether its processes are those that the Trainer reckons with.

PyTorch Lightning believes the variables of Slurm, and where the two differ, processes wait for ever or each of them
does all of the work.
"""

from __future__ import annotations

from collections.abc import Mapping

from lit_knn.errors import UserError

REMEDY = "set them to --ntasks-per-node and --nodes, and trainer.strategy to ddp"
SHELLS = ("bash", "interactive")  # jobs of these names are no jobs to Lightning


def job_id(environment: Mapping[str, str]) -> str:
    """Return what Slurm calls this job, or task of an array, which stays when it is requeued; "" outside of jobs."""
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{number(environment, 'SLURM_ARRAY_TASK_ID')}"
    return environment.get("SLURM_JOB_ID", "")


def number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Return the whole number that a variable holds.

    Raises:
        UserError: If it holds something else, or is not set and there is no default.
    """
    if name not in environment and default is not None:
        return default
    if not (text := environment.get(name, "")).isdecimal():
        what = f"is {text!r}" if name in environment else "is not set, but others of Slurm are"
        raise UserError(
            f"{name} {what}; Slurm sets it to a whole number: outside of its jobs, unset all SLURM_ variables"
        )
    return int(text)


def check_request(environment: Mapping[str, str]) -> None:
    """Refuse what Lightning cannot count, before there is a Trainer.

    Raises:
        UserError: If several tasks were asked for, but not by node, or started in a job with the name of a shell.
    """
    name = environment.get("SLURM_JOB_NAME", "")
    if name in SHELLS:
        if (started := number(environment, "SLURM_STEP_NUM_TASKS", 1)) > 1:
            raise UserError(
                f"SLURM started {started} tasks in a job called {name}, in which PyTorch Lightning does not see them: "
                "give it another --job-name"
            )
    elif (asked := number(environment, "SLURM_NTASKS", 1)) > 1 and "SLURM_NTASKS_PER_NODE" not in environment:
        raise UserError(f"SLURM was asked for --ntasks={asked}: say how many go to a node, with --ntasks-per-node")


def check_tasks(environment: Mapping[str, str], devices: int, nodes: int) -> None:
    """Refuse a job whose tasks would wait for others or each do everything.

    Args:
        environment: Of a process in a job that is not a shell.
        devices: The Trainer's, on each node.
        nodes: The Trainer's.

    Raises:
        UserError: If there are more or fewer tasks, or on more or fewer nodes.
    """
    tasks = number(environment, "SLURM_NTASKS", 1)
    on = number(environment, "SLURM_NNODES", nodes)
    if tasks != devices * nodes or on != nodes:
        raise UserError(
            f"SLURM started {tasks} tasks on {on} nodes, but trainer.devices is {devices} and trainer.num_nodes "
            f"{nodes}: {REMEDY}"
        )
