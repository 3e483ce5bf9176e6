import copy
from pathlib import Path

import pytest
import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment

from lit_knn.attacks import PGD
from lit_knn.data import Digits
from lit_knn.database.store import Store
from lit_knn.defenses import KNN
from lit_knn.engine.callbacks import (
    FixedThreads,
    KeptMemory,
    NeighborPictures,
    PreemptionGuard,
    Progress,
    RunRecord,
    WandbResults,
)
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError
from lit_knn.evaluation.module import Evaluation
from tests.conftest import contents, run

QUIET = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False}


def trainer(tmp_path, **options):
    return EvalTrainer(**{**QUIET, "default_root_dir": tmp_path, **options})


def kinds(trainer):
    return [type(callback) for callback in trainer.callbacks]


# ---------------------------------------------------------------- construction


def test_it_fixes_what_evaluation_under_attack_needs(tmp_path):
    made = trainer(tmp_path)
    assert made.test_loop.inference_mode is False
    assert made._accelerator_connector.use_distributed_sampler is False
    assert made.checkpoint_callbacks == []


def test_every_run_has_the_same_callbacks_unless_one_is_given(tmp_path):
    assert kinds(trainer(tmp_path, enable_progress_bar=True)) == [
        FixedThreads,
        KeptMemory,
        Progress,
        RunRecord,
        NeighborPictures,
        PreemptionGuard,
        WandbResults,
    ]
    assert kinds(trainer(tmp_path)) == [
        FixedThreads,
        KeptMemory,
        RunRecord,
        NeighborPictures,
        PreemptionGuard,
        WandbResults,
    ]
    mine = NeighborPictures(queries=3)
    given = trainer(tmp_path, callbacks=mine)
    assert sorted(map(str, kinds(given))) == sorted(map(str, kinds(trainer(tmp_path))))
    assert mine in given.callbacks
    guard = PreemptionGuard(grace=5)
    given = trainer(tmp_path, callbacks=[guard])
    assert given.preemption is guard
    assert kinds(given) == kinds(trainer(tmp_path))


def test_under_slurm_nothing_is_requeued_by_lightning(tmp_path, monkeypatch):
    monkeypatch.setattr(SLURMEnvironment, "detect", staticmethod(lambda: True))
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "job")
    connector = trainer(tmp_path)._accelerator_connector
    assert isinstance(connector.cluster_environment, SLURMEnvironment)
    assert connector.cluster_environment.auto_requeue is False


# ---------------------------------------------------------------- the folder of a run


# ---------------------------------------------------------------- extract, index, test


def evaluation(classifier, database):
    return Evaluation(
        classifier=classifier,
        attacks=[PGD(steps=1)],
        deltas=[0.05],
        database=database,
        defenses=[KNN(taps=["early"], k=[5])],
    )


def test_a_test_builds_what_is_missing_where_it_may(tmp_path, classifier, data, database):
    database.path, database.build_missing = tmp_path / "new", True
    before = copy.deepcopy(classifier.state_dict())
    first, again = trainer(tmp_path / "runs"), trainer(tmp_path / "runs")
    first.test(evaluation(classifier, database), data)
    assert set(first.seconds) == {"extract", "index", "test"}
    assert len(Store(database.store_path)) == 1297
    built = contents(database.path)
    again.test(evaluation(classifier, database), data)
    assert set(again.seconds) == {"test"}  # nothing is built twice
    assert contents(database.path) == built

    after = classifier.state_dict()  # and none of it has touched the network, or Python's idea of gradients
    assert any(name.endswith("running_mean") for name in after)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(module.training for module in classifier.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in classifier.parameters())
    assert torch.is_grad_enabled()


def test_the_run_folder_holds_everything(reference):
    written = {path.name for path in reference.iterdir()}
    assert written >= {"record.json", "results.csv", "accuracy.png", "neighbors-early.png", "neighbors-late.png"}
    assert not [name for name in written if name.endswith(".tmp")]


def test_the_same_command_gives_the_same_numbers_byte_for_byte(reference, built):
    assert (run("test", built) / "results.csv").read_bytes() == (reference / "results.csv").read_bytes()


def test_a_database_does_not_depend_on_workers(config, database_path):
    run("extract", config, "--data.num_workers", "2")
    assert contents(Path(config["model"]["database"]["path"])) == contents(database_path)


def test_extracting_again_changes_nothing(config):
    run("extract", config)
    folder = Path(config["model"]["database"]["path"])
    before = contents(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")}
    run("extract", config)
    assert contents(folder) == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")} == times


def test_a_run_that_goes_on_with_another_attack_is_refused(tmp_path, classifier, data):
    for number, attack in enumerate((PGD(steps=1), PGD(steps=2))):
        changed = Evaluation(classifier=classifier, attacks=[attack], deltas=[0.05])
        if number == 0:
            trainer(tmp_path, run="mine").test(changed, data)
        else:
            with pytest.raises(UserError, match="another"):
                trainer(tmp_path, run="mine").test(changed, data)


def test_queries_of_the_database_are_refused_before_anything_is_extracted(tmp_path, classifier, data, database):
    data.database = Digits(split="all")
    database.path, database.build_missing = tmp_path / "new", True
    with pytest.raises(UserError, match=r"data\.queries are images of data\.database.*one of them is all digits"):
        trainer(tmp_path).test(evaluation(classifier, database), data)
    assert not database.path.exists()


@pytest.mark.parametrize("number", ["0", "0.0"])
def test_a_test_of_nothing_is_refused(built, mistake, number):
    assert "limit_test_batches is 0, so that nothing" in mistake(
        "test", built, f"--trainer.limit_test_batches={number}"
    )
    assert not list(Path(built["trainer"]["default_root_dir"]).glob("run-*"))
