"""Processes that talk about arrays on the CPU, whatever their networks run on."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import torch.distributed as dist

PATIENCE = timedelta(days=30)  # one process may have hours of work left when another has none
_groups: list[dist.ProcessGroup] = []


def patient_group() -> dist.ProcessGroup:
    """Return a new group of all processes that wait for each other as long as it takes; all of them ask for it.

    NCCL would give up sooner, and keep a GPU busy with waiting.
    """
    group = cast(dist.ProcessGroup, dist.new_group(timeout=PATIENCE, backend="gloo"))
    _groups.append(group)
    return group


def hang_up() -> None:
    """Drop all connections of gloo: whoever waits for this process is told that it has gone."""
    if dist.get_backend() == "gloo":
        dist.destroy_process_group()
    else:
        for group in _groups:
            dist.destroy_process_group(group)
    _groups.clear()
