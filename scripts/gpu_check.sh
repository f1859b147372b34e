#!/usr/bin/env bash
# Checks the GPU path of dtrain on this machine; builds nothing. Runs from a pack (scripts/pack.sh) or from a checkout
# after `cargo build --release`. docs/gpu.md says what each part proves.
#
#   scripts/gpu_check.sh                            all parts; each takes at most 8 minutes
#   scripts/gpu_check.sh --part nccl --part errors  some of them
#   scripts/gpu_check.sh --out FILE                 results there (default: bench/results/gpu-DATE.json)
#   scripts/gpu_check.sh --cpu                      the same on the CPU, where that makes sense
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  printf 'error: `%s` is no Python 3.10 or newer\n\nhint: set PYTHON to one; on a GPU machine to the one that has torch 2.11\n' "$python" >&2
  exit 3
fi
exec "$python" "$root/bench/gpu/check.py" "$@"
