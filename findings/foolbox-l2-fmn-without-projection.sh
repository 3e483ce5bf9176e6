#!/usr/bin/env bash
# foolbox 3.3.4: L2FMNAttack never projects.
#
# Its `project` divides the norms of the images (not of the perturbations) by themselves, `norms / norms`, and so multiplies
# every perturbation by 1: the radius that the attack computes at each step has no effect. What is left is normalized
# gradient ascent with falling steps, which keeps the smallest success it happens to pass. The authors' own code,
# pralab/Fast-Minimum-Norm-FMN-Attack, clips the perturbation to the radius; so do L1FMNAttack and LInfFMNAttack here.
#
# Expected: project(x, x0, epsilon) lies within epsilon of x0. Seen: it is x. Exits with 0 while that is so, with 1 once it
# has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check foolbox==3.3.4
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import eagerpy
import numpy as np
from foolbox.attacks import L2FMNAttack, LInfFMNAttack

random = np.random.default_rng(0)
clean = eagerpy.astensor(random.random((4, 3, 8, 8)))
far = clean + eagerpy.astensor(random.normal(size=(4, 3, 8, 8)))
radius = eagerpy.astensor(np.full(4, 0.5))
flat = {name: (attack().project(far, clean, radius) - clean).flatten(1) for name, attack in
        {"L2": L2FMNAttack, "Linf": LInfFMNAttack}.items()}
lengths = {"L2": flat["L2"].norms.l2(axis=-1).numpy(), "Linf": flat["Linf"].norms.linf(axis=-1).numpy()}
print(f"projected to a radius of 0.5: L2 {lengths['L2']}, L-infinity {lengths['Linf']}")
print(f"before: L2 {(far - clean).flatten(1).norms.l2(axis=-1).numpy()}")
wrong = (lengths["L2"] > 10).all() and (lengths["Linf"] <= 0.5 + 1e-9).all()
sys.exit(0 if wrong else 1)
PYTHON
