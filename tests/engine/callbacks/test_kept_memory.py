from contextlib import contextmanager

import pytest
import torch
from pytorch_lightning import LightningModule
from torch.utils.data import DataLoader

from lit_knn.engine.trainer import EvalTrainer


@pytest.mark.parametrize("fail", [False, True])
def test_memory_is_kept_during_a_pass_and_given_back(fail, monkeypatch, tmp_path):
    told = []

    @contextmanager
    def kept():
        told.append("kept")
        try:
            yield
        finally:
            told.append("back")

    class Seen(LightningModule):
        def predict_step(self, batch, batch_idx):
            told.append("pass")
            if fail:
                raise KeyError("stop")
            return 0

    monkeypatch.setattr("lit_knn.engine.callbacks.kept_memory.memory_kept", kept)
    trainer = EvalTrainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_progress_bar=False)
    try:
        trainer.predict(Seen(), DataLoader([{"id": torch.zeros(1)}]), return_predictions=False)
    except KeyError:
        assert fail
    assert told == ["kept", "pass", "back"]
