import pytest

from lit_knn.distributed.slurm import check_request, check_tasks, job_id
from lit_knn.errors import UserError

TWO = {"SLURM_JOB_NAME": "job", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_NAME": "job", "SLURM_NTASKS": "1"},
        TWO | {"SLURM_NTASKS_PER_NODE": "2"},
        {"SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "2"},  # one process in the shell of an allocation of two
        {"SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_what_lightning_can_count(environment):
    check_request(environment)


def test_tasks_that_lightning_cannot_count():
    with pytest.raises(UserError, match=r"--ntasks=2: say .* --ntasks-per-node"):
        check_request(TWO)
    with pytest.raises(UserError, match="2 tasks in a job called interactive"):
        check_request(TWO | {"SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "interactive"})


@pytest.mark.parametrize(("tasks", "on", "devices", "nodes"), [(1, 1, 1, 1), (4, 1, 4, 1), (4, 2, 2, 2)])
def test_tasks_that_fit(tasks, on, devices, nodes):
    check_tasks({"SLURM_NTASKS": str(tasks), "SLURM_NNODES": str(on)}, devices, nodes)


@pytest.mark.parametrize(("tasks", "on", "devices", "nodes"), [(2, 1, 1, 1), (1, 1, 2, 1), (4, 2, 4, 1), (2, 1, 1, 2)])
def test_tasks_that_do_not_fit(tasks, on, devices, nodes):
    environment = {"SLURM_NTASKS": str(tasks), "SLURM_NNODES": str(on)}
    with pytest.raises(UserError, match=f"{tasks} tasks on {on} nodes, but trainer.devices is {devices} and"):
        check_tasks(environment, devices, nodes)


def test_a_task_of_an_array_goes_by_the_array_and_its_number():
    assert job_id({}) == ""
    assert job_id({"SLURM_JOB_ID": "77"}) == "77"
    assert job_id({"SLURM_JOB_ID": "78", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "7"}) == "70_7"


def test_variables_in_part_or_without_a_number():
    for call in (lambda: job_id({"SLURM_ARRAY_JOB_ID": "70"}), lambda: check_request({"SLURM_NTASKS": "x"})):
        with pytest.raises(UserError, match="unset all SLURM_ variables"):
            call()
