"""What a run changes of its process, given back: a notebook goes on after it."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytorch_lightning import seed_everything

from lit_knn.backbones.random_state import RandomState
from lit_knn.distributed.preemption import Preempted
from lit_knn.engine.chatter import CHATTY, silence


@contextmanager
def as_it_was(device: torch.device, seed: int) -> Iterator[None]:
    """Seed everything for a run; then give back the random state, determinism, environment, log levels and warnings.

    It is a run of this process alone, whatever job of Slurm a notebook was started in.

    Args:
        device: Of the run.
        seed: Of the run, from 0 to 2³² − 1.

    Raises:
        KeyboardInterrupt: After Ctrl-C, for which a command ends its process.
    """
    environment, levels = dict(os.environ), [logging.getLogger(name).level for name in CHATTY]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warned, benchmark = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    with RandomState(device), warnings.catch_warnings():
        silence()
        for name in [name for name in environment if name.startswith("SLURM_")]:
            del os.environ[name]
        seed_everything(seed)
        try:
            yield
        except Preempted as preempted:
            if preempted.signum == signal.SIGINT:
                raise KeyboardInterrupt from preempted
            raise
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warned)
            torch.backends.cudnn.benchmark = benchmark
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
            for name, level in zip(CHATTY, levels, strict=True):
                logging.getLogger(name).setLevel(level)
