"""A network in the place of one whose weights are not there, or need not be: as fast, and of the same shapes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lit_knn.backbones.networks import build
from lit_knn.backbones.preparation import LOADED_BY
from lit_knn.storage.fingerprint import digest


def stand_in(network: str, arguments: dict[str, Any], weights: str) -> nn.Module:
    """Return a network with random weights; nothing is downloaded, unless a function of the user's own does it.

    The same description gives the same network, and another one another: their fingerprints tell what stands for what.

    Args:
        network: As `lit_knn.backbones.networks.build` takes it.
        arguments: As it takes them; those by which torchvision and timm load weights are left out.
        weights: What would be loaded besides.

    Raises:
        UserError: As `build` does.
    """
    loading = next((names for start, names in LOADED_BY.items() if network.startswith(start)), ())
    kept = {name: value for name, value in arguments.items() if name not in loading}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(digest([network, arguments, weights], 8), 16))
        return build(network, kept)
