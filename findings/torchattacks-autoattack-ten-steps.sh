#!/usr/bin/env bash
# torchattacks 3.5.1: AutoAttack(version="standard") takes 10 steps of APGD and FAB, a tenth of AutoAttack's.
#
# The standard version of AutoAttack, and RobustBench's leaderboards, take 100 steps of APGD-CE, APGD-T and FAB-T. Here the
# wrapper builds each of them without a number of steps, and their own default is 10. Square has its 5,000 queries. So
# accuracies under this "standard" version are higher than, and times below, those of the attack that it is named after.
#
# Expected: 100 steps. Seen: 10. Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torchattacks==3.5.1 torch==2.11.0 torchvision==0.26.0 \
    'numpy<3'
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torchattacks import AutoAttack

network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10)).eval()
attack = AutoAttack(network, norm="L2", eps=0.5, version="standard", n_classes=10)
parts = attack._autoattack.attacks
steps = {type(part).__name__: getattr(part, "steps", None) for part in parts}
print(f"steps: {steps}; queries of Square: {parts[-1].n_queries}")
wrong = [steps[name] for name in ("APGD", "APGDT", "FAB")] == [10, 10, 10] and parts[-1].n_queries == 5000
sys.exit(0 if wrong else 1)
PYTHON
