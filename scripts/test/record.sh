#!/usr/bin/env bash
# Runs a test program for scripts/test.sh, as cargo's runner: takes how long each test took out of what it prints.
#
#   scripts/test/record.sh PROGRAM [ARGUMENT...]
#
# Into the folder DTRAIN_TEST_RECORD goes the file `times`: seconds, package, test. DTRAIN_TEST_VERBOSE=1 shows the tests
# that pass, too.
set -euo pipefail
program=$1
shift
package=${CARGO_PKG_NAME:-$(basename "$program")}

# The harness of stable Rust measures each test and shows it to those only who ask for unstable options. Nothing is compiled here,
# and what a test compiles must not see the permission (tests/src/program.rs).
shape=(--format=pretty)
if RUSTC_BOOTSTRAP=1 "$program" -Z unstable-options --report-time --list >/dev/null 2>&1; then
  shape+=(-Z unstable-options --report-time)
fi

# Tests with ranks take turns (comm/tests/it/world.rs), and waiting for one's turn is no time of one's own.
[[ $package/$(basename "$program") != dtrain-comm/it-* ]] || export RUST_TEST_THREADS=1

RUSTC_BOOTSTRAP=1 "$program" "$@" "${shape[@]}" | while IFS= read -r line; do
  if [[ $line =~ ^test\ (.+)\ \.\.\.\ (.*)\<([0-9.]+)s\>$ ]]; then
    printf '%s\t%s\t%s\n' "${BASH_REMATCH[3]}" "$package" "${BASH_REMATCH[1]% - should panic}" >>"$DTRAIN_TEST_RECORD/times"
    [[ ${BASH_REMATCH[2]} == ok* && ${DTRAIN_TEST_VERBOSE:-0} != 1 ]] && continue
  fi
  printf '%s\n' "$line"
done
