#!/usr/bin/env bash
# The first look: SimCLR beside SupCon on generated bird song, two processes through mpirun. Each recording has its own
# hum, noise, microphone and gain, so a model can cheat by recognizing recordings. SimCLR does; SupCon must not.
#
#   scripts/demo.sh [FOLDER]   runs go to FOLDER (default: runs/demo-<time>)
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-runs/demo-$(date +%Y-%m-%d_%H-%M-%S)}
# Open MPI refuses to run as root unless told twice; containers are often root.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
scripts/setup.sh
printf '\n=== cargo build --release (minutes the first time: cargo tells how far it is)\n' >&2
cargo build --release --package dtrain
dtrain=target/release/dtrain
begin=$SECONDS
for method in simclr supcon; do
  printf '\n=== mpirun -n 2 dtrain experiment=%s_birdsong\n' "$method"
  mpirun -n 2 --bind-to none --oversubscribe "$dtrain" "experiment=${method}_birdsong" "run.dir=$out/$method"
done

printf '\n=== What do the embeddings know? Accuracy on the test part; no recording is in two parts.\n'
python3 - "$out" <<'PY'
import json, sys
out = sys.argv[1]
metrics = {m: json.load(open(f"{out}/{m}/result.json"))["metrics"] for m in ("simclr", "supcon")}
print(f"{'':18}{'SimCLR':>10}{'SupCon':>10}{'chance':>10}")
for label, prefix in (("species", ""), ("recording", "recording_")):
    for probe in ("knn", "linear"):
        cells = [metrics[m][f"test/{prefix}{probe}_top1"] for m in metrics]
        cells.append(metrics["simclr"][f"test/{prefix}chance"])
        print(f"{label + ' ' + probe:18}" + "".join(f"{100 * c:9.1f}%" for c in cells))
PY
printf '%s\n' "" "$((SECONDS - begin)) s in all. Runs:" "  $out/simclr" "  $out/supcon" "" "Next:" \
  "  $dtrain eval $out/supcon                    all probes again, offline" \
  "  $dtrain experiment=supervised_birdsong      a classifier on the same recordings" \
  "  $dtrain ls                                  all experiments" \
  "  tensorboard --logdir $out                   curves and the first batch's views"
