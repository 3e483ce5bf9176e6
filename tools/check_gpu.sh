#!/usr/bin/env bash
# Checks a machine with a GPU within six minutes: the tests marked gpu, and how much of the card attacks and search use.
#   tools/check_gpu.sh [RECORD.json]    # by default tools/records/bench_gpu.json
# The package has to be installed, with pytest; FAISS is used where it sees the GPU, and not needed.
set -euo pipefail
record=$(realpath -m "${1:-$(dirname "$0")/records/bench_gpu.json}")
cd "$(dirname "$0")/.."
exec timeout 360 python tools/bench_gpu.py --device cuda --output "$record"
