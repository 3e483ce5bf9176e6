#!/usr/bin/env bash
# torchvision 0.29.1 (torch 2.14.1): a failed trace leaves the network in training mode.
#
# get_graph_node_names traces a network twice, in training and in evaluation mode, and puts it back into its mode after
# that. A network with data-dependent control flow cannot be traced: the call raises, and a network that was in evaluation
# mode is in training mode from then on. Who catches the error and falls back to hooks evaluates with batch statistics,
# and each forward pass changes the running ones: no error, other numbers.
#
# Expected: an exception leaves the network as it was. Seen: training is True, and the same image gets another answer.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch import nn
from torchvision.models.feature_extraction import get_graph_node_names


class Clipped(nn.Module):
    """Clips its input only where that is needed, so that its graph depends on values."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image):
        if image.max() > 1:
            image = image.clamp(0, 1)
        return self.norm(image).mean((2, 3))


torch.manual_seed(0)
network = Clipped().eval()
image = torch.rand(4, 3, 8, 8)
with torch.no_grad():
    before = network(image)
    try:
        get_graph_node_names(network)
        raised = "nothing"
    except Exception as error:
        raised = type(error).__name__
    after = network(image)
print(f"raised: {raised}; training after eval() and the call: {network.training}")
print(f"largest change of an answer to the same image: {(after - before).abs().max():.3f}")
print(f"batches that the running statistics have seen: {int(network.norm.num_batches_tracked)}")
sys.exit(0 if raised == "TraceError" and network.training and not torch.allclose(before, after) else 1)
PYTHON
