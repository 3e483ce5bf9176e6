"""Extraction that is killed, stopped, split and doubled: nothing is lost, nothing is there twice, the bytes stay."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch
import yaml

from lit_knn.backbones import Classifier, Tap
from lit_knn.cli.main import main
from lit_knn.database.store import Store
from lit_knn.storage.atomic import unfinished_name
from tests.conftest import NETWORK as DIGITS
from tests.conftest import TAPS, contents, restored, run, tiny
from tests.data.conftest import write_tars

pytestmark = pytest.mark.slow
LENGTHS = (11, 7, 12, 9)
PARTS = 3

NETWORK = """
import os, signal
from lit_knn.backbones.digits import digits_resnet

def network():
    net = digits_resnet()
    def count(module, inputs, output):
        network.batches += 1
        of = os.environ.get("OF_RANK", os.environ.get("LOCAL_RANK", "0"))
        if network.batches == int(os.environ.get("IN_BATCH", "0")) and of == os.environ.get("LOCAL_RANK", "0"):
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
    net.conv1.register_forward_hook(count)
    return net
network.batches = 0
"""


def examination():
    """Return how many forward passes the network is looked at for, before each pass over the images."""
    classifier, calls = Classifier(**DIGITS), []
    classifier.network.conv1.register_forward_hook(lambda *call: calls.append(call))
    classifier.examine(torch.rand(5, 3, 8, 8), [Tap(**tap) for tap in TAPS])
    return len(calls)


EXAMINATION = examination()
CALIBRATION = EXAMINATION + 4  # batches of 5, 5, 1 and 5 images, the first 16
BATCHES = sum(-(-length // 5) for length in LENGTHS)  # of one pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four tar shards and a network that sends its process a signal in a batch of its own."""
    folder = tmp_path_factory.mktemp("images")
    write_tars(folder, *LENGTHS, height=8, width=8)
    (folder / "mortal.py").write_text(NETWORK)
    return folder


def described(config, folder):
    """Return a configuration with these shards and this network."""
    config["data"] |= {
        "database": {"class_path": "TarShards", "init_args": {"urls": str(folder / "part-*.tar")}},
        "batch_size": 5,
    }
    config["model"]["classifier"] = {**config["model"]["classifier"], "network": f"{folder / 'mortal.py'}:network"}
    return config


@pytest.fixture
def config(config, folder):
    return described(config, folder)


@pytest.fixture(scope="module")
def whole(folder):
    """A database that one process has made in one go."""
    run("extract", described(tiny(folder / "whole", folder / "runs"), folder))
    return folder / "whole"


@pytest.fixture(scope="module")
def uninterrupted(whole):
    return contents(whole)


def start(config, command="extract", *options, **environment):
    """Run a command that needs no gradients in a fork of this process, with all it has imported; return its id."""
    path = Path(config["trainer"]["default_root_dir"]) / "given.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        torch.set_num_threads(1)
        log = os.open(path.with_name("child.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.update({name: str(value) for name, value in environment.items()})
        with restored():
            main([command, "--config", str(path), *options])
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001 - whatever it is, it is said
        traceback.print_exc()  # nobody else will
    finally:
        sys.stderr.flush()
        os._exit(code)


def end(child):
    """Return the exit code of a child, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def said(config):
    return (Path(config["trainer"]["default_root_dir"]) / "child.log").read_text()


def database_of(config):
    return Path(config["model"]["database"]["path"])


# ---------------------------------------------------------------- kill -9


def test_nothing_is_lost_and_nothing_is_written_twice(config, uninterrupted):
    second_of_shard_2 = CALIBRATION + BATCHES + EXAMINATION + 3 + 2 + 2
    assert end(start(config, IN_BATCH=second_of_shard_2, SIGNAL=int(signal.SIGKILL))) == -signal.SIGKILL
    database = database_of(config)
    sealed = {path: path.stat() for path in database.rglob("*.h5") if not path.name.startswith(".")}
    assert {path.name for path in sealed} == {"shard-000000.h5", "shard-000001.h5", "early.h5", "late.h5"}
    assert list((database / "store").glob(".shard-000002*.tmp"))  # it was in the middle of this one
    assert not (database / "store" / "manifest.json").exists()

    run("extract", config)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sealed} == {
        path: (stat.st_ino, stat.st_mtime_ns) for path, stat in sealed.items()
    }
    keys = Store(database / "store").keys(range(sum(LENGTHS)))
    assert keys == [f"s{number:03d}" for number in range(sum(LENGTHS))]
    assert contents(database) == uninterrupted  # and what was half-written has been tidied up


@pytest.fixture
def often(monkeypatch):
    """Keep moments after every batch."""
    monkeypatch.setattr("lit_knn.database.building.kept.SECONDS", 0.0)
    monkeypatch.setattr("lit_knn.database.building.kept.SHARE", 0)


def test_killed_at_any_moment(config, uninterrupted, often):
    moments, killed = random.Random(0), 0
    for _ in range(8):
        child = start(config)
        time.sleep(moments.uniform(0.05, 0.8))
        os.kill(child, signal.SIGKILL)
        killed += end(child) == -signal.SIGKILL
    assert killed
    run("extract", config)
    assert contents(database_of(config)) == uninterrupted


# ---------------------------------------------------------------- parts


def test_parts_in_any_order_make_the_same_database(config, uninterrupted):
    parts = [f"--part={number}/{PARTS}" for number in (3, 1, 2)]
    for part in parts:
        assert not list(database_of(config).glob("projection/*"))
        run("fit", config, part)
    assert len(list(database_of(config).glob("moments/*.h5"))) == PARTS * 2  # taps
    for part in parts:
        assert not (database_of(config) / "store" / "manifest.json").exists()
        run("extract", config, part)
    assert contents(database_of(config)) == uninterrupted


def test_a_killed_part_takes_nothing_from_the_others(config, uninterrupted, often):
    """All parts of both steps at once, each of them killed in its second batch the first time."""
    die = {"IN_BATCH": EXAMINATION + 2, "SIGNAL": int(signal.SIGKILL)}
    for command, environments in (("fit", [die, {}]), ("extract", [die, {}])):
        for environment in environments:
            children = [start(config, command, f"--part={n}/{PARTS}", **environment) for n in range(1, PARTS + 1)]
            codes = [end(child) for child in children]
            assert codes == [-signal.SIGKILL if environment else 0] * PARTS, said(config)
    assert contents(database_of(config)) == uninterrupted


def test_more_parts_than_shards(config, uninterrupted):
    for command in ("fit", "extract"):
        for number in range(1, 6):
            run(command, config, f"--part={number}/5")
    assert contents(database_of(config)) == uninterrupted


def test_a_part_needs_projections_of_the_whole(config, mistake):
    assert "run `lit-knn fit`" in mistake("extract", config, "--part=1/2")


def test_a_slurm_array_shares_the_work(config, uninterrupted, monkeypatch):
    for command in ("fit", "extract"):
        for task in (7, 9):
            variables = {"ID": task, "MIN": 7, "MAX": 9, "STEP": 2, "COUNT": 2}
            with monkeypatch.context() as patch:
                for name, value in variables.items():
                    patch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
                run(command, config)
    assert contents(database_of(config)) == uninterrupted


# ---------------------------------------------------------------- two at once


@pytest.mark.parametrize("locking", ["TRUE", "FALSE"])
def test_two_tasks_on_the_same_shards_write_the_same_bytes(config, uninterrupted, often, locking):
    for command in ("fit", "extract"):
        children = [start(config, command, HDF5_USE_FILE_LOCKING=locking) for _ in range(2)]
        assert [end(child) for child in children] == [0, 0], said(config)
    assert contents(database_of(config)) == uninterrupted


def test_a_shard_that_another_task_has_sealed_and_tidied_up(config, whole, uninterrupted, tmp_path, monkeypatch):
    """Between the last row and the new name of a file, another task seals the shard, and removes what is unfinished."""
    from lit_knn.database.store import ShardWriter

    seal = ShardWriter.seal
    other = shutil.copytree(whole, tmp_path / "other")

    def overtaken(self):
        os.replace(other / "store" / self.path.name, self.path)
        self._unfinished.unlink()
        seal(self)

    monkeypatch.setattr(ShardWriter, "seal", overtaken)
    run("extract", config)
    assert contents(database_of(config)) == uninterrupted


# ---------------------------------------------------------------- signals


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A Slurm that writes down what it is asked."""
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit ${{SCONTROL_CODE:-0}}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    return tmp_path / "asked"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("command", ["fit", "extract"])
def test_a_signal_stops_and_the_same_command_goes_on(config, uninterrupted, command, signum):
    first_of_shard_1 = CALIBRATION + 1 + (BATCHES + EXAMINATION + 3 if command == "extract" else 0)
    assert end(start(config, command, IN_BATCH=first_of_shard_1, SIGNAL=int(signum))) == 75, said(config)
    assert f"lit-knn: stopped by {signum.name} with nothing lost; the same command goes on\n" in said(config)
    assert "Traceback" not in said(config)
    if command == "extract":  # it has finished the shard in hand, and begun no other
        assert sorted(path.name for path in (database_of(config) / "store").iterdir()) == [
            "shard-000000.h5",
            "shard-000001.h5",
        ]
    run("extract", config)
    assert contents(database_of(config)) == uninterrupted


def test_a_signal_stops_an_index_that_is_built(config, whole, tmp_path, monkeypatch):
    """It has no batches after which it could ask; the training may take hours."""
    config["model"]["database"] |= {"path": str(shutil.copytree(whole, tmp_path / "own")), "index": "auto"}
    monkeypatch.setattr(
        "lit_knn.database.index.faiss_files.FaissFormat.train", lambda *args: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert end(start(config, "index")) == 75, said(config)
    assert said(config) == "lit-knn: stopped by SIGTERM with nothing lost; the same command goes on\n"


def test_a_shard_that_takes_longer_than_the_notice_is_dropped(config, uninterrupted):
    config["trainer"]["callbacks"] = [{"class_path": "PreemptionGuard", "init_args": {"grace": 0}}]
    first_of_shard_1 = CALIBRATION + BATCHES + EXAMINATION + 3 + 1
    assert end(start(config, IN_BATCH=first_of_shard_1, SIGNAL=int(signal.SIGTERM))) == 75
    assert [path.name for path in (database_of(config) / "store").iterdir()] == ["shard-000000.h5"]
    run("extract", config)
    assert contents(database_of(config)) == uninterrupted


@pytest.mark.parametrize(
    ("job", "asked"),
    [
        ({"SLURM_JOB_ID": "77"}, "requeue 77\n"),
        ({"SLURM_JOB_ID": "78", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "7"}, "requeue 70_7\n"),
    ],
)
def test_slurm_is_asked_to_start_the_job_again(config, scontrol, job, asked):
    array = {f"SLURM_ARRAY_TASK_{name}": value for name, value in (("MIN", 7), ("MAX", 7), ("STEP", 1), ("COUNT", 1))}
    assert end(start(config, IN_BATCH=2, SIGNAL=int(signal.SIGUSR1), **array, **job)) == 75
    assert scontrol.read_text() == asked
    assert "Slurm starts it again" in said(config)
    assert end(start(config, IN_BATCH=2, SIGNAL=int(signal.SIGUSR1), SCONTROL_CODE=1, **array, **job)) == 75
    assert "cannot be requeued" in said(config)


def test_a_signal_to_the_whole_group_ends_quietly(config, uninterrupted):
    """Slurm's signals reach the processes that read images, too, and PyTorch's die of SIGTERM."""
    child = start(config, "extract", "--data.num_workers=2", IN_BATCH=CALIBRATION + 3, SIGNAL=int(signal.SIGSTOP))
    os.waitpid(child, os.WUNTRACED)
    workers = Path(f"/proc/{child}/task/{child}/children").read_text().split()
    for process in (*workers, child):
        os.kill(int(process), signal.SIGTERM)
    os.kill(child, signal.SIGCONT)
    assert end(child) == 75, said(config)
    assert "Traceback" not in said(config)
    run("extract", config)
    assert contents(database_of(config)) == uninterrupted


def test_a_test_goes_on_after_the_last_finished_batch(config, whole):
    config["model"]["database"]["path"] = str(whole)
    run("index", config)
    expected = run("test", config)
    runs, again = expected.parent, "--trainer.run=again"
    given = Path(config["trainer"]["default_root_dir"]) / "given.yaml"
    given.write_text(yaml.safe_dump(config))
    child = subprocess.Popen(  # not forked: PyTorch may refuse gradients in a fork of a process that has computed some
        [sys.executable, "-m", "lit_knn", "test", "--config", str(given), again],
        env={**os.environ, "IN_BATCH": "40", "SIGNAL": str(int(signal.SIGTERM))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed, _ = child.communicate()
    assert child.returncode == 75, printed
    finished = {path: path.stat().st_mtime_ns for path in (runs / "again" / "activations").rglob("*.h5")}
    assert 0 < len(finished) < 26 * 3
    assert not (runs / "again" / "results.csv").exists()
    for path in (runs / "again" / "record.json", runs / "again" / "sample_results" / "000000000-5.npz"):
        path = unfinished_name(path)  # as if it had been killed in that moment
        path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{child.pid}-")).write_text("half")
    run("test", config, again)
    assert not list((runs / "again").rglob(".*.tmp"))
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items())
    assert (runs / "again" / "results.csv").read_bytes() == (expected / "results.csv").read_bytes()


# ---------------------------------------------------------------- exceptions


def test_an_extraction_that_dies_before_the_projections_are_fitted_starts_again(config, tmp_path, monkeypatch):
    """Here the interruption is an exception: Ctrl-C."""

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lit_knn.database.building.fitting.MomentFiles.seal", interrupt)
        with pytest.raises(SystemExit) as stop:
            run("extract", config)
        assert stop.value.code == 130
    assert set(contents(tmp_path / "database")) == {"shards/000000.json"}  # which shards it was begun with
    run("extract", config)
    assert len(Store(tmp_path / "database" / "store")) == sum(LENGTHS)


def test_an_exception_in_the_middle_of_a_shard_leaves_no_half_of_it(config, tmp_path, monkeypatch):
    from lit_knn.database.store import ShardWriter

    append, calls = ShardWriter.append, []

    def interrupt(self, **columns):
        calls.append(1)
        if len(calls) == 5:  # the second batch of the second shard
            raise KeyboardInterrupt
        append(self, **columns)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "append", interrupt)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run("extract", config)
    assert [path.name for path in (tmp_path / "database" / "store").iterdir()] == ["shard-000000.h5"]
    run("extract", config)
    assert len(Store(tmp_path / "database" / "store")) == sum(LENGTHS)
