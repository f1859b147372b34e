#!/usr/bin/env bash
# The whole check: format, lints as errors, documentation links, all tests. Needs nothing but Rust on a fresh Debian or
# Ubuntu machine: scripts/setup.sh installs the rest.
#
#   scripts/test.sh           everything
#   scripts/test.sh --quick   without the whole-program tests
#   scripts/test.sh --slurm   installs SLURM (slurm-wlm, munge) for the tests that want a real one; CI=true does too
set -euo pipefail
cd "$(dirname "$0")/.."

quick=0
slurm=0
[ "${CI:-}" != true ] || slurm=1
for arg in "$@"; do
  case "$arg" in
    --quick) quick=1 ;;
    --slurm) slurm=1 ;;
    -h|--help) sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "error: unknown option \`$arg\`" >&2; echo >&2; echo "hint: $0 [--quick] [--slurm]" >&2; exit 2 ;;
  esac
done

summary=()
suite() { # name, command...
  local name=$1 begin=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  if "$@"; then
    summary+=("$(printf '%-28s ok     %4d s' "$name" $((SECONDS - begin)))")
  else
    summary+=("$(printf '%-28s FAILED %4d s' "$name" $((SECONDS - begin)))")
    printf '\n'; printf '%s\n' "${summary[@]}"
    exit 1
  fi
}

# Daemons are not on the PATH of everybody.
has_slurm() (PATH=$PATH:/usr/sbin:/sbin; command -v slurmctld && command -v slurmd && command -v munged) >/dev/null
install_slurm() {
  has_slurm && return
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
}

# Open MPI refuses to run as root unless told twice; containers are often root.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
tests() { cargo test --release --quiet --package "$1"; }

suite "set-up" scripts/setup.sh
if [ $slurm = 1 ]; then
  suite "SLURM" install_slurm
elif ! has_slurm; then
  summary+=("SLURM                        skipped: not installed; --slurm installs it")
fi
suite "format" cargo fmt --all --check
suite "build" cargo build --release --workspace
suite "lints" cargo clippy --release --workspace --all-targets -- -D warnings
suite "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet
suite "configs" tests dtrain-configs
suite "comm" tests dtrain-comm
suite "trainer" tests dtrain-trainer
suite "launcher" tests dtrain
suite "fuzz kit" tests dtrain-fuzz-kit
suite "bench harness" python3 -m unittest discover --quiet --start-directory bench/tests
[ $quick = 1 ] || suite "whole program" cargo test --release --package dtrain-tests -- --test-threads=1

printf '\n'; printf '%s\n' "${summary[@]}"
