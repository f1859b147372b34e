#!/usr/bin/env bash
# What the tests told scripts/test.sh, as it stands at its end: which did not run and why, and the slowest.
#
#   scripts/test/summary.sh FOLDER
#
# FOLDER has lines with tabs: `skipped` (why, package, test), `long` (likewise), `times` (seconds, package, test).
set -euo pipefail
folder=$1
SLOWEST=20

if [ -s "$folder/skipped" ]; then
  printf '\nSkipped on this machine, so not proved:\n'
  sort -u "$folder/skipped" | awk -F '\t' '
    $1 != why { why = $1; printf "  %s\n", why }
    { printf "    %s %s\n", $2, $3 }'
fi
if [ -s "$folder/long" ]; then
  printf '\nHeavier proofs, which scripts/test.sh --long runs too:\n'
  sort -u "$folder/long" | awk -F '\t' '{ printf "    %s %s\n", $2, $3 }'
fi
if [ -s "$folder/times" ]; then
  printf '\nThe slowest of %d tests:\n' "$(wc -l <"$folder/times")"
  # All of it is read: a reader that leaves early ends `sort` with SIGPIPE, which `pipefail` takes for a failure.
  sort -t "$(printf '\t')" -k 1,1gr "$folder/times" |
    awk -F '\t' -v slowest=$SLOWEST 'NR <= slowest { printf "  %7.1f s  %s %s\n", $1, $2, $3 }'
else
  printf '\nNo times: the test harness of this compiler does not give them\n'
fi
