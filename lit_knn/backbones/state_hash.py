"""What tells the weights of one network from those of another."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor, nn

from lit_knn.storage.description import describe


def state_hash(network: nn.Module, start: str) -> str:
    """Return 16 digits of a text and of a state dict: parameters, buffers, and what modules keep beside them.

    Whether Lightning has cast float64 to float32, where tensors lie and in which layout makes no difference.

    Args:
        network: Its state dict is hashed.
        start: The text.
    """
    digest = hashlib.sha256(start.encode())
    for name, value in sorted(network.state_dict().items()):
        if not isinstance(value, Tensor):  # what a module's get_extra_state gives
            digest.update(f"{name}{json.dumps(describe(value), sort_keys=True)}".encode())
            continue
        value = value.float() if value.dtype == torch.float64 else value
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
