#!/usr/bin/env bash
# torchvision 0.29.1 (torch 2.14.1): a module whose name ends in a number is given the name of another one.
#
# get_graph_node_names calls the second call of a module `relu_1`. For that it takes a number at the end of any name for
# that of a call and counts anew: of modules `conv_1` and `conv_2` the first becomes `conv`, the second `conv_1`. So
# create_feature_extractor(network, {"conv_1": ...}) gives the output of `conv_2`, without an error. torchvision's own
# ViTs have it: `encoder.layers.encoder_layer_0.ln_1` is the LayerNorm before the MLP, `ln_2`.
#
# Expected: the name of a leaf module is its own, as the documentation says ("the name for that node will simply be
# 'relu'"). Seen: the activations of the module after it. Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torchvision.models import vit_b_32
from torchvision.models.feature_extraction import create_feature_extractor

torch.manual_seed(0)
network, image = vit_b_32(weights=None).eval(), torch.rand(1, 3, 224, 224)
block = "encoder.layers.encoder_layer_0"
seen = {}
for name in ("ln_1", "ln_2"):
    module = network.get_submodule(f"{block}.{name}")
    module.register_forward_hook(lambda _module, _inputs, output, name=name: seen.update({name: output}))
with torch.no_grad():
    network(image)
    hooked = dict(seen)
    found = create_feature_extractor(network, {f"{block}.ln_1": "out"})(image)["out"]
wrong = torch.equal(found, hooked["ln_2"]) and not torch.allclose(found, hooked["ln_1"], atol=1e-2)
print(f"the node called ln_1 is the module ln_1: {torch.equal(found, hooked['ln_1'])}")
print(f"the node called ln_1 is the module ln_2: {torch.equal(found, hooked['ln_2'])}")
sys.exit(0 if wrong else 1)
PYTHON
