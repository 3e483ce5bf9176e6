import os

import pytest
import torch
from pytorch_lightning import LightningModule
from torch.utils.data import DataLoader

from lit_knn.engine.callbacks import FixedThreads
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError


class Seen(LightningModule):
    fail = False

    def predict_step(self, batch, batch_idx):
        self.threads = torch.get_num_threads()
        if self.fail:
            raise KeyError("stop")
        return 0


@pytest.mark.parametrize("fail", [False, True])
def test_threads_are_fixed_during_a_pass_and_given_back(fail, monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    for given, expected in ((None, 1), (2, 2)):
        trainer = EvalTrainer(
            threads=given, accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_progress_bar=False
        )
        module = Seen()
        module.fail = fail
        try:
            trainer.predict(module, DataLoader([{"id": torch.zeros(1)}]), return_predictions=False)
        except KeyError:
            assert fail
        assert module.threads == expected
        assert torch.get_num_threads() == before


def test_the_environment_is_the_default_and_zero_is_refused(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert FixedThreads().threads == 5
    with pytest.raises(UserError, match=r"trainer\.threads"):
        FixedThreads(0)


def test_more_threads_than_cores_and_no_number_are_refused(monkeypatch):
    with pytest.raises(UserError, match="the cores of this machine"):
        FixedThreads(os.cpu_count() + 1)
    for text in ("x", "0", "-1"):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        with pytest.raises(UserError, match="OMP_NUM_THREADS is"):
            FixedThreads()
    for text, number in (("", 1), ("4,2", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert FixedThreads().threads == number
