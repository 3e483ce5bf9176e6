import torch

from lit_knn.attacks import PGD
from lit_knn.engine import examined
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.evaluation.module import Evaluation


def test_it_is_examined_as_it_would_run(tmp_path, classifier, data, monkeypatch):
    seen = []

    def examine(evaluation, data, device, runs):
        seen.append((device, runs, torch.get_num_threads()))
        return []

    monkeypatch.setattr(examined, "examine", examine)
    before = torch.get_num_threads()
    threads = 2 if before == 1 else 1
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    trainer = EvalTrainer(default_root_dir=tmp_path, threads=threads, **options)
    trainer.doctor(Evaluation(classifier=classifier, attacks=[PGD()], deltas=[0.1]), data)
    assert seen == [(torch.device("cpu"), tmp_path, threads)]
    assert torch.get_num_threads() == before
