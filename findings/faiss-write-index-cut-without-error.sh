#!/usr/bin/env bash
# faiss-cpu 1.15.1: write_index returns normally though its file is cut.
#
# The last bytes of a file wait in a buffer of the C library until it is closed. Where a full disk, a quota or a limit of
# file sizes takes just those, FAISS prints "close error" on standard error and raises nothing: write_index returns as if all
# were well, the file can be renamed, hashed and sealed, and only whoever reads it again learns that it is no index.
#
# Expected: an exception, as there is when bytes before the last are refused. Seen: a printed line, and a file that is cut.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check faiss-cpu==1.15.1
"$folder/venv/bin/python" - "$folder/index" 2>"$folder/printed" <<'PYTHON'
import resource
import sys
from pathlib import Path

import faiss
import numpy as np

path = Path(sys.argv[1])
index = faiss.IndexFlatL2(8)
index.add(np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32))
whole = len(faiss.serialize_index(index))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
raised = {}
for limit in range(0, whole, 64):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        faiss.write_index(index, str(path))
        raised[limit] = False
    except RuntimeError:
        raised[limit] = True
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
silent = [limit for limit, error in raised.items() if not error]
print(f"faiss {faiss.__version__}: of {len(raised)} limits below {whole} bytes, {len(silent)} raise nothing")
if not silent:
    print("write_index raises whenever its file is cut: this has changed")
    sys.exit(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (silent[-1], hard))
faiss.write_index(index, str(path))
print(f"expected: an exception; seen: none, and {path.stat().st_size} of {whole} bytes")
try:
    faiss.read_index(str(path))
except RuntimeError as error:
    print(f"reading it: {str(error).splitlines()[0][-80:]}")
else:
    print("what is cut can be read: this has changed")
    sys.exit(1)
PYTHON
