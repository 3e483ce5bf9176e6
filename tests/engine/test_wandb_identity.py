import pytest
from pytorch_lightning.loggers import WandbLogger

from lit_knn.engine.wandb_identity import VARIABLES, forget, identify

pytest.importorskip("wandb")


@pytest.fixture
def settled(tmp_path):
    """Return a function that gives what wandb is called with, by a logger with these arguments."""

    def call(command="test", environment=None, folder="runs/cifar10-figure4", **arguments):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        logger = WandbLogger(**arguments)
        identify(logger, command, tmp_path / folder, environment or {})
        assert (logger.save_dir, logger.version) == (logger._wandb_init["dir"], logger._wandb_init["id"])
        return logger._wandb_init

    return call


def test_a_test_is_called_like_its_folder_and_writes_there(settled, tmp_path):
    found = settled()
    assert (found["name"], found["job_type"], found["group"]) == ("cifar10-figure4", "test", None)
    assert found["dir"] == str(tmp_path / "runs" / "cifar10-figure4")


def test_an_interrupted_test_goes_on_and_a_finished_one_is_another(settled, tmp_path):
    first = settled()["id"]
    assert len(first) == 8
    assert settled()["id"] == first
    assert settled()["resume"] == "allow"
    assert settled(folder="runs/other")["id"] != first
    forget(tmp_path / "runs" / "cifar10-figure4")
    forget(tmp_path / "runs" / "cifar10-figure4")
    assert settled()["id"] != first


def test_tasks_of_an_array_are_a_group_of_jobs_of_their_own(settled, tmp_path):
    array = {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "2"}
    found = settled("extract", array, "runs")
    assert (found["group"], found["job_type"], found["id"], found["name"]) == ("70", "extract", None, None)
    assert not list(tmp_path.rglob("wandb-id"))
    assert settled("extract", array | {"WANDB_RUN_GROUP": "cifar10"})["group"] == "cifar10"


def test_what_was_chosen_stays(settled, tmp_path):
    chosen = {"group": "mine", "job_type": "trial", "name": "first", "id": "abc", "dir": "elsewhere"}
    variables = dict(zip(VARIABLES.values(), "dgitn", strict=True))
    found = settled(environment=variables, **{**chosen, "dir": None, "save_dir": "elsewhere"})
    assert {name: found[name] for name in chosen} == chosen
    found = settled(environment=variables)
    assert [found[name] for name in ("dir", "group", "id", "job_type", "name")] == [*"dgitn"]
    assert not list(tmp_path.rglob("wandb-id"))


def test_a_run_that_has_begun_stays_what_it_is(tmp_path):
    begun = WandbLogger(experiment=object())
    identify(begun, "test", tmp_path, {})
    assert begun._wandb_init["dir"] == "."
    assert not list(tmp_path.iterdir())
