"""A Slurm of one node, with daemons, ports and files of its own: no root, and nothing outside of its folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

SEARCH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol")
CONFIGURATION = """
ClusterName=sandbox
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=localhost CPUs=4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
"""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program, path=SEARCH) is None]


@contextmanager
def slurm(folder: Path) -> Iterator[Mapping[str, str]]:
    """Start it, and yield the variables by which commands find it.

    Args:
        folder: For everything it writes; a socket in there has to have a name of less than 108 characters.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (key := folder / "munge.key").write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
        ports = {"controller_port": one.getsockname()[1], "node_port": other.getsockname()[1]}
    configuration.write_text(CONFIGURATION.format(folder=folder, user=user, **ports))
    files = [f"--{name}={folder}/munge.{name.partition('-')[0]}" for name in ("socket", "pid-file", "log-file")]
    daemons = (
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--seed-file={folder}/munge.seed", *files],
        ["slurmctld", "-D", "-f", configuration],
        ["slurmd", "-D", "-f", configuration, "-N", "localhost"],
    )
    variables = {"SLURM_CONF": str(configuration)}
    with ExitStack() as stack:
        for daemon in daemons:
            stack.enter_context(_running(daemon, folder))
        _wait_until_idle({**os.environ, **variables}, folder)
        yield variables


@contextmanager
def _running(command: list[str | Path], folder: Path) -> Iterator[None]:
    program = shutil.which(str(command[0]), path=SEARCH)
    with (folder / "daemons.log").open("a") as log:
        process = subprocess.Popen([program or command[0], *command[1:]], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_until_idle(environment: Mapping[str, str], folder: Path) -> None:
    for _ in range(100):
        answer = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True, check=False
        )
        if answer.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    raise RuntimeError(f"Slurm did not start: {answer.stderr}\n{logs}")
