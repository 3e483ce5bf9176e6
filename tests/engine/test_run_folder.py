import pytest

from lit_knn.engine.run_folder import RunTrainer
from lit_knn.errors import UserError, WriteError


def trainer(tmp_path, **options):
    return RunTrainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )


@pytest.fixture
def no_slurm(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_slurm")
def test_each_run_has_a_folder_of_its_own(tmp_path):
    first = trainer(tmp_path)
    assert first.run_folder == first.run_folder == tmp_path / "run-001"
    assert first.run_folder.is_dir()
    (tmp_path / "run-notes").mkdir()  # not a number
    (tmp_path / "run-009").mkdir()
    assert trainer(tmp_path).run_folder == tmp_path / "run-010"
    assert trainer(tmp_path / "deep" / "er").run_folder.is_dir()


@pytest.mark.usefixtures("no_slurm")
def test_a_requeued_job_finds_its_folder_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert trainer(tmp_path).run_folder == trainer(tmp_path).run_folder == tmp_path / "77"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    assert trainer(tmp_path).run_folder == tmp_path / "70_7"


@pytest.mark.parametrize("name", ["a/b", "..", ".", "/a"])
def test_a_run_is_one_folder(tmp_path, name):
    with pytest.raises(UserError, match="the name of one folder"):
        trainer(tmp_path, run=name)


@pytest.mark.usefixtures("no_slurm")
@pytest.mark.parametrize("run", ["", "mine"])
def test_a_folder_that_cannot_be_made(tmp_path, run):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        _ = trainer(tmp_path / "file" / "runs", run=run).run_folder


@pytest.mark.usefixtures("no_slurm")
def test_how_a_stopped_command_goes_on(tmp_path):
    made = trainer(tmp_path)
    assert made.what_goes_on("extract") == "the same command goes on"
    assert made.what_goes_on("verify") == made.what_goes_on("test") == "the same command starts again"
    assert made.run_folder.name == "run-001"
    assert made.what_goes_on("test") == "the same command with --trainer.run=run-001 goes on"
    assert trainer(tmp_path, run="mine").what_goes_on("test") == "the same command goes on"


def test_processes_that_begin_in_the_middle_of_a_command(tmp_path):
    with pytest.raises(UserError, match="ddp and auto are accepted"):
        RunTrainer(default_root_dir=tmp_path, accelerator="cpu", devices=2, strategy="ddp_spawn", logger=False)
