import logging
import os
import signal
import warnings

import pytest
import torch

from lit_knn.distributed.preemption import Preempted
from lit_knn.notebook.process_state import as_it_was
from lit_knn.randomness import run_seed
from tests.conftest import restored

CPU = torch.device("cpu")


def test_a_run_has_its_seed_and_what_follows_its_own_numbers(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    log, torch_before = logging.getLogger("pytorch_lightning"), torch.get_rng_state()
    level, shown = log.level, len(warnings.filters)
    deterministic = torch.are_deterministic_algorithms_enabled()
    with restored():
        before = dict(os.environ)
        with as_it_was(CPU, 5):
            assert run_seed() == 5
            assert "SLURM_JOB_ID" not in os.environ
            first = torch.rand(3)
            os.environ["LEFT"] = "1"
            torch.use_deterministic_algorithms(not deterministic, warn_only=True)
        assert dict(os.environ) == before
        with as_it_was(CPU, 5):
            assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (log.level, len(warnings.filters)) == (level, shown)
    assert torch.are_deterministic_algorithms_enabled() == deterministic


@pytest.mark.parametrize(("signum", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Preempted)])
def test_ctrl_c_does_not_end_the_notebook(signum, raised):
    before = torch.get_rng_state()
    with pytest.raises(raised), as_it_was(CPU, 0):
        raise Preempted(signum)
    assert torch.equal(torch.get_rng_state(), before)
