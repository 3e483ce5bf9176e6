"""Processes that talk about arrays on the CPU, whatever their networks run on."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import torch.distributed as dist

PATIENCE = timedelta(days=30)  # one process may have hours of work left when another has none


def patient_group() -> dist.ProcessGroup:
    """Return a new group of all processes that wait for each other as long as it takes; all of them ask for it.

    NCCL would give up sooner, and keep a GPU busy with waiting.
    """
    return cast(dist.ProcessGroup, dist.new_group(timeout=PATIENCE, backend="gloo"))
