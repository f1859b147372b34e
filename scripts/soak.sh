#!/usr/bin/env bash
# Kills runs at random moments, lets them go on, and compares each with the undisturbed run bit for bit; then fuzzes every
# parser for a while. Bounded in time and count.
#
#   scripts/soak.sh                                       24 runs of 10 kills, at most 30 minutes, and 20 s per parser
#   scripts/soak.sh --runs 4 --kills 5 --seed 7           less, and other moments
#   scripts/soak.sh --minutes 120 --runs 200 --json FILE  more, with the figures as JSON
#   scripts/soak.sh --fuzz-secs 0                         without fuzzing
set -euo pipefail
cd "$(dirname "$0")/.."

fuzz_secs=20
options=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h|--help) sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    --fuzz-secs) fuzz_secs=${2:?}; shift 2 ;;
    *) options+=("$1"); shift ;;
  esac
done

# Open MPI refuses to run as root unless told twice; containers are often root.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
cargo build --release --package dtrain --package dtrain-tests --bins
# A run that ended otherwise than it should keeps no parser from being fuzzed.
status=0
DTRAIN_BIN=${DTRAIN_BIN:-$PWD/target/release/dtrain} target/release/soak "${options[@]}" || status=$?
[ "$fuzz_secs" = 0 ] || scripts/fuzz.sh "$fuzz_secs" || status=$?
exit $status
