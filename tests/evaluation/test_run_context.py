from pathlib import Path
from types import SimpleNamespace

from pytorch_lightning import Trainer

from lit_knn.evaluation.run_context import RunContext, context_of


def test_a_trainer_without_a_run_gives_no_folder_and_does_not_listen():
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    context = context_of(Trainer(accelerator="cpu", **quiet))
    assert context.folder is None
    context.tell("gray_box: PGD")
    context.pause()


def test_a_trainer_with_a_run_says_where_it_is():
    given = RunContext(Path("runs/run-001"))
    assert context_of(SimpleNamespace(run_context=given)) is given
