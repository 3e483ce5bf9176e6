"""The job scripts and their driver, on a real Slurm of one node where that is installed."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import contents, run, tiny
from tests.data.conftest import write_tars
from tests.integration.slurm_sandbox import missing, slurm
from tests.integration.test_interrupted import EXAMINATION

ROOT = Path(__file__).parents[2]
SUBMIT = ROOT / "slurm" / "submit"
LENGTHS = (11, 7, 12, 9, 10, 8)
CHAIN = "fit,extract,train,add,merge,test,report"
TWO_TASKS = ("--sbatch=--cpus-per-task=1 --ntasks-per-node=1", "--sbatch=extract=--ntasks-per-node=2")
NETWORK = """
import os, subprocess, time
from lit_knn.backbones.digits import digits_resnet

ASK = {"requeue": ["scontrol", "requeue"], "signal": ["scancel", "--signal=USR1"], "cancel": ["scancel"]}

def network():
    net = digits_resnet()
    def ask(module, inputs, output):
        network.batches += 1
        first = os.environ.get("SLURM_PROCID") == "0" and "SLURM_RESTART_COUNT" not in os.environ
        task = os.environ.get("SLURM_ARRAY_TASK_ID", "2")
        if first and task == "2" and str(network.batches) == os.environ.get("IN_BATCH"):
            subprocess.run([*ASK[os.environ["ASK"]], os.environ["SLURM_JOB_ID"]], check=True)
            time.sleep(3)
    net.conv1.register_forward_hook(ask)
    return net
network.batches = 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six tar shards and a network that asks Slurm to interrupt the second task of its array in a batch of its own."""
    folder = tmp_path_factory.mktemp("images")
    write_tars(folder, *LENGTHS, height=8, width=8)
    (folder / "interrupted.py").write_text(NETWORK)
    return folder


@pytest.fixture
def config(folder, tmp_path):
    return described(folder, tmp_path)


def described(folder, where):
    config = tiny(where / "database", where / "runs")
    config["data"] |= {
        "database": {"class_path": "TarShards", "init_args": {"urls": str(folder / "part-*.tar")}},
        "batch_size": 5,
        "num_queries": 40,
    }
    config["model"]["classifier"] |= {"network": f"{folder / 'interrupted.py'}:network"}
    config["model"]["database"]["index"]["init_args"] = {"factory": "IVF4,Flat", "search_parameters": {"nprobe": 2}}
    (where / "digits.yaml").write_text(yaml.safe_dump(config))
    return config


# ---------------------------------------------------------------- the driver, without Slurm


def driver(where, *options, **environment):
    return subprocess.run(
        [sys.executable, SUBMIT, *options],
        cwd=where,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def fake(tmp_path, config):
    """An sbatch that numbers its calls and writes them down, and refuses a partition."""
    script = tmp_path / "bin" / "sbatch"
    script.parent.mkdir()
    script.write_text(
        '#!/bin/bash\ncase "$*" in *--partition=none*) echo no such partition >&2; exit 1;; esac\n'
        f'echo "$WANDB_RUN_GROUP" >> {tmp_path}/groups\n'
        f'echo "$@" >> {tmp_path}/calls; wc -l < {tmp_path}/calls\n'
    )
    script.chmod(0o755)
    teller = script.with_name("lit-knn")
    teller.write_text(f'#!/bin/bash\necho "$@" > {tmp_path}/asked; cat >> {tmp_path}/asked; echo "in all  $3 h"\n')
    teller.chmod(0o755)
    return {"PATH": f"{script.parent}:{os.environ['PATH']}"}


def calls(where):
    text = (where / "calls").read_text() if (where / "calls").exists() else ""
    (where / "calls").unlink(missing_ok=True)
    return text.splitlines()


def test_each_step_waits_for_the_one_before(tmp_path, fake):
    said = driver(tmp_path, "digits.yaml", "--tasks=16%4", "--cpu", "--", "--data.batch_size=7", **fake)
    steps = ["fit", "extract", "train", "add", "merge", "test", "report"]
    assert said.stdout.splitlines() == [f"{step} {number}" for number, step in enumerate(steps, start=1)], said.stderr
    made = calls(tmp_path)
    waits = [word.partition("=")[2] for call in made for word in call.split() if word.startswith("--dependency")]
    assert waits == [f"afterok:{number}" for number in range(1, 7)]
    assert ["--array=1-16%4" in call for call in made] == [step in ("fit", "extract", "add") for step in steps]
    assert ["--gres=none" in call and "--data.batch_size=7" in call for call in made] == [True] * 6 + [False]
    assert f"{ROOT}/slurm/report.sbatch runs/digits --output runs/report" in made[-1]


def test_a_dry_run_is_a_script_that_submits_the_same(tmp_path, fake):
    options = ("digits.yaml", "--overlay", "a b.yaml", "--overlay", "c.yaml", "--sbatch=add=--comment='$x y'")
    for name in ("a b.yaml", "c.yaml"):
        (tmp_path / name).write_text("{}")
    script = driver(tmp_path, *options, "--dry-run", **fake).stdout
    assert calls(tmp_path) == []
    assert not (tmp_path / "runs" / "slurm").exists()
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env={**os.environ, **fake}, check=True)
    by_hand = calls(tmp_path)
    driver(tmp_path, *options, **fake)
    assert by_hand == calls(tmp_path)
    assert by_hand[-1].split()[2] == "--dependency=afterok:6:7"
    assert by_hand[-1].endswith("runs/digits-a b runs/digits-c --output runs/digits-report")


def test_what_is_submitted_together_is_one_group_of_a_dashboard(tmp_path, fake):
    def groups():
        return set((tmp_path / "groups").read_text().splitlines())

    options = ("digits.yaml", "--run", "a study")
    script = driver(tmp_path, *options, "--dry-run", **fake).stdout
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env={**os.environ, **fake}, check=True)
    assert groups() == {"a study"}
    driver(tmp_path, *options, **fake)
    assert groups() == {"a study"}
    driver(tmp_path, *options, WANDB_RUN_GROUP="mine", **fake)
    assert groups() == {"a study", "mine"}


def test_hours_and_bytes_come_first_as_comments(tmp_path, fake):
    said = driver(tmp_path, "digits.yaml", "--tasks=16%4", "--dry-run", **fake)
    assert said.stdout.splitlines()[:2] == ["# in all  4 h", "mkdir -p runs/slurm"]
    head, *commands = (tmp_path / "asked").read_text().splitlines()
    assert head == "forecast --tasks 4"
    assert (
        commands
        == driver(
            tmp_path, "digits.yaml", "--tasks=16%4", "--local", "--dry-run", "--no-forecast", **fake
        ).stdout.splitlines()
    )
    submitted = driver(tmp_path, "digits.yaml", "--tasks=16%4", **fake)
    assert submitted.stderr == "# in all  4 h\n"
    assert "#" not in submitted.stdout


def test_without_lit_knn_or_with_one_that_fails_one_line_says_so(tmp_path, fake):
    teller = tmp_path / "bin" / "lit-knn"
    teller.write_text("#!/bin/bash\necho broken >&2; echo in two >&2; exit 3\n")
    first, *_ = driver(tmp_path, "digits.yaml", "--dry-run", **fake).stdout.splitlines()
    assert first == "# No hours and bytes are told: in two"
    teller.unlink()
    first, *_ = driver(
        tmp_path, "digits.yaml", "--dry-run", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin"
    ).stdout.splitlines()
    assert first == "# No hours and bytes are told: lit-knn is not on the PATH here."


@pytest.fixture
def study(tmp_path):
    """A folder of tests: two that follow each other and one beside them."""
    folder = tmp_path / "study"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.yaml").write_text("{}")
    (folder / "chains.txt").write_text(
        "# of three\ndatabase: ../digits.yaml a.yaml\nbase: ../digits.yaml\n  \nb a  # follow\n  # or\nc\n"
    )
    return folder


def test_a_folder_says_which_tests_follow_each_other(tmp_path, fake, study):
    said = driver(tmp_path, "study", "--steps=extract,test,report", **fake)
    assert said.stdout.splitlines() == ["extract 1", "test1 2", "test2 3", "test3 4", "report 5"], said.stderr
    made = calls(tmp_path)
    waits = [word.partition("=")[2] for call in made for word in call.split() if word.startswith("--dependency")]
    assert waits == ["afterok:1", "afterok:2", "afterok:1", "afterok:2:3:4"]
    assert "--config digits.yaml --config study/a.yaml" in made[0]
    runs = [f"--config digits.yaml --config study/{name}.yaml --trainer.default_root_dir runs" for name in "bac"]
    assert all(
        f"{run} --trainer.run study-{name}" in call for run, name, call in zip(runs, "bac", made[1:4], strict=True)
    )
    assert made[4].endswith("runs/study-b runs/study-a runs/study-c --output runs/study-report")


def test_a_folder_is_named_as_it_is_called_wherever_one_stands(tmp_path, fake, study):
    (study / "digits.yaml").write_text("{}")
    driver(study, ".", "--steps=test", **fake)
    assert "--trainer.run study-b" in calls(tmp_path)[0]
    said = driver(tmp_path, "study", "--overlay=digits.yaml", **fake)
    assert (said.returncode, calls(tmp_path)) == (2, [])
    assert "study is a folder, whose chains.txt names all files" in said.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "there is no file study/chains.txt, which says"),
        ("base: ../digits.yaml\na\n", "study/chains.txt needs a line database: and a line base:"),
        ("database: ../digits.yaml\nbase: ../digits.yaml\nd\n", "there is no file study/d.yaml"),
        ("database: ../digits.yaml\nbase: ../digits.yaml\na b a\n", "two overlays have the same name"),
        (
            "database:\nbase: ../digits.yaml\na\n",
            "needs a line database: and a line base:, one of each, with their files",
        ),
        ("database: a.yaml\nbase: ../digits.yaml\nbase: b.yaml\na\n", "needs a line database: and a line base:"),
        ("database: ../digits.yaml\nbase: ../digits.yaml\n", "study/chains.txt names no test"),
    ],
)
def test_a_folder_that_does_not_say_it_is_refused(tmp_path, fake, study, text, sentence):
    (study / "chains.txt").unlink()
    if text:
        (study / "chains.txt").write_text(text)
    said = driver(tmp_path, "study", **fake)
    assert (said.returncode, calls(tmp_path)) == (2, [])
    assert sentence in said.stderr


def test_all_run_here_without_slurm(tmp_path, fake, study):
    """One after the other, until one fails."""
    command = tmp_path / "bin" / "lit-knn"
    command.write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/calls; [[ "$*" != *"$FAILS"* ]]\n')
    command.chmod(0o755)
    options = ("study", "--local", "--no-forecast", "--steps=fit,train,test", "--", "--data.batch_size=7")
    said = driver(tmp_path, *options, FAILS="study/a.yaml --data", **fake)
    made = calls(tmp_path)
    assert [call.split()[0] for call in made] == ["fit"], said.stderr
    assert "fit ended with code 1; the same command again goes on" in said.stderr
    said = driver(tmp_path, *options, FAILS="nothing", **fake)
    made = calls(tmp_path)
    assert [call.split()[0] for call in made] == ["fit", "index", "test", "test", "test"], said.stderr
    assert all("--data.batch_size=7" in call for call in made)
    assert "--stage train" in made[1]
    dry = driver(tmp_path, "--dry-run", *options, **fake)
    assert dry.stdout.splitlines() == [f"lit-knn {call}" for call in made]
    assert calls(tmp_path) == []


def test_options_for_one_step_go_over_those_for_all(tmp_path, fake):
    driver(
        tmp_path, "digits.yaml", "--steps=extract,test", "--sbatch=--time=1", "--sbatch=test=--time=2 -C big", **fake
    )
    extract, test = calls(tmp_path)
    assert ("--time=1" in extract, "--time=2" in extract, "-C big" in extract) == (True, False, False)
    assert test.index("--time=1") < test.index("--time=2 -C big")


def test_a_refusal_names_what_was_submitted(tmp_path, fake):
    said = driver(tmp_path, "digits.yaml", "--sbatch=train=--partition=none", **fake)
    assert said.returncode == 1
    assert "no such partition" in said.stderr
    assert said.stderr.endswith("sbatch refused train; to cancel what was submitted: scancel 1 2\n")
    assert len(calls(tmp_path)) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["nowhere.yaml"], "there is no file nowhere.yaml"),
        (["digits.yaml", "--tasks=0"], "accepted are 16, or 16%4"),
        (["digits.yaml", "--steps=index"], "there is no step index: there are fit, extract, train"),
        (["digits.yaml", "--overlay=digits.yaml", "--overlay=./digits.yaml"], "two overlays have the same name"),
    ],
)
def test_mistakes_are_refused_before_anything_is_submitted(tmp_path, fake, options, sentence):
    said = driver(tmp_path, *options, **fake)
    assert said.returncode == 2
    assert sentence in said.stderr
    assert calls(tmp_path) == []


# ---------------------------------------------------------------- on a real Slurm


def on_slurm(test):
    absent = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
    return absent(pytest.mark.slow(pytest.mark.slurm(test)))


@pytest.fixture(scope="module")
def cluster():
    """The variables of commands and jobs, on a Slurm of one node."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # pytest's own is too long for a socket
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "PL_"))}
    path = {"PATH": f"{Path(sys.executable).parent}:{clean['PATH']}", "OMP_NUM_THREADS": "1"}
    with slurm(folder) as variables:
        yield {**clean, **path, **variables}
    shutil.rmtree(folder)


def asked(cluster, *command):
    return subprocess.run(command, env=cluster, capture_output=True, text=True, check=True).stdout


def wait(cluster, seconds=600):
    """Return the state of every job when none is left; one that was requeued waits two minutes unless told not to."""
    end, empty = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        queue = [line.split() for line in asked(cluster, "squeue", "-h", "-r", "-o", "%A %r").splitlines()]
        empty = 0 if queue else empty + 1
        if empty == 4:  # on a busy machine a job that is requeued was seen to be in no queue for a moment
            return
        for job, reason in queue:
            if reason == "BeginTime":
                asked(cluster, "scontrol", "update", f"jobid={job}", "StartTime=now")
        time.sleep(0.5)
    raise TimeoutError(asked(cluster, "squeue"))


def submit(cluster, where, *options):
    """Let the driver submit, and return {step: id} when all jobs have ended."""
    said = driver(where, "digits.yaml", "--cpu", *TWO_TASKS, *options, **cluster)
    assert said.returncode == 0, said.stderr
    wait(cluster)
    return dict(line.split() for line in said.stdout.splitlines())


def written(where):
    return {path: path.stat().st_mtime_ns for path in where.rglob("*") if path.suffix in (".h5", ".faiss", ".npz")}


def log(where, step):
    return "\n".join(path.read_text() for path in sorted(where.glob(f"runs/slurm/digits-{step}-*.out")))


@pytest.fixture(scope="module")
def expected(folder, tmp_path_factory):
    """The database and the results of a run without Slurm: {path: bytes} and bytes."""
    where = tmp_path_factory.mktemp("expected")
    config = described(folder, where)
    run("extract", config)
    run("index", config)
    return contents(where / "database"), (run("test", config) / "results.csv").read_bytes()


@on_slurm
def test_a_chain_that_is_requeued_in_the_middle(cluster, config, expected, tmp_path):
    """Slurm starts an array task of extract again, and the test itself asks for that when it is signalled."""
    interrupt = (
        f"--sbatch=extract=--export=ALL,IN_BATCH={EXAMINATION + 2},ASK=requeue",
        f"--sbatch=test=--export=ALL,IN_BATCH={EXAMINATION + 4},ASK=signal",
    )
    few = ("--sbatch=fit=--array=1-2", "--sbatch=add=--array=1-2")
    submit(cluster, tmp_path, "--tasks=3", *few, f"--steps={CHAIN}", "--sbatch=test=--ntasks-per-node=2", *interrupt)
    database, results = expected
    everything = "\n".join(log(tmp_path, step) for step in CHAIN.split(","))
    assert contents(tmp_path / "database") == database, everything
    assert (tmp_path / "runs" / "digits" / "results.csv").read_bytes() == results, everything
    assert "<title>" in (tmp_path / "runs" / "report" / "report.html").read_text(), everything
    assert "DUE TO JOB REQUEUE" in log(tmp_path, "extract")
    assert "stopped by SIGTERM with nothing lost; the same command goes on" in log(tmp_path, "extract")
    assert log(tmp_path, "test").count("stopped by SIGUSR1 with nothing lost; Slurm starts it again") == 1

    before = written(tmp_path)
    submit(cluster, tmp_path, "--tasks=1", "--steps=extract,test")  # of one process each, this time
    assert written(tmp_path) == before
    assert (tmp_path / "runs" / "digits" / "results.csv").read_bytes() == results


@on_slurm
def test_tasks_that_do_not_match_the_devices(cluster, config, tmp_path):
    def sentence(log):
        (said,) = {line for line in log.splitlines() if line.startswith("lit-knn: ")}
        assert "Traceback" not in log
        return said

    # One task of a script for two, none of them waiting for another that fails; and a script of somebody else's.
    few = ("--sbatch=--ntasks-per-node=2 --ntasks=1 --dependency=singleton", "--steps=fit,extract,test", "--tasks=1")
    script = "srun lit-knn test --config digits.yaml"
    other = subprocess.Popen(
        ["sbatch", "--wait", "--ntasks-per-node=2", f"--output={tmp_path}/other.out", f"--wrap={script}"],
        env=cluster,
        cwd=tmp_path,
    )
    jobs = submit(cluster, tmp_path, *few)
    for step, job in jobs.items():
        assert "ExitCode=2:0" in asked(cluster, "scontrol", "show", "job", job)
        assert sentence(log(tmp_path, step)) == (
            "lit-knn: SLURM started 1 tasks on 1 nodes, but trainer.devices is 2 and trainer.num_nodes 1: set them to "
            "--ntasks-per-node and --nodes, and trainer.strategy to ddp"
        )
    assert other.wait(timeout=60) == 2
    assert "started 2 tasks on 1 nodes, but trainer.devices is 1" in sentence((tmp_path / "other.out").read_text())
    assert not (tmp_path / "database").exists()


@on_slurm
def test_a_canceled_job_stays_canceled_and_nothing_after_it_runs(cluster, config, tmp_path):
    cancel = "--sbatch=fit=--array=2 --export=ALL,IN_BATCH=2,ASK=cancel"
    jobs = submit(cluster, tmp_path, "--tasks=1", "--steps=fit,extract", cancel)
    for job in jobs.values():
        assert "JobState=CANCELLED" in asked(cluster, "scontrol", "show", "job", job)
    assert "stopped by SIGTERM with nothing lost" in log(tmp_path, "fit")
    assert not (tmp_path / "database" / "store").exists()
