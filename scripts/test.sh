#!/usr/bin/env bash
# The whole check: format, lints as errors, documentation links, all tests. Needs nothing but Rust on a fresh Debian or
# Ubuntu machine: scripts/setup.sh installs the rest. The summary names what was skipped and the slowest tests.
#
#   scripts/test.sh            everything
#   scripts/test.sh --quick    without the whole-program tests
#   scripts/test.sh --long     with the heavier proofs too: half an hour of kills (scripts/soak.sh) and fuzzing
#   scripts/test.sh --slurm    installs SLURM (slurm-wlm, munge) for the tests that want a real one
#   scripts/test.sh --nccl     fetches NCCL (218 MB) into .deps/nccl for the tests that hold our table of it against the library
#   scripts/test.sh --python   installs numpy and TensorBoard into target/test-python for the tests that want them
#
# CI=true installs all that tests want.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="$0 [--quick] [--long] [--slurm] [--nccl] [--python]"
quick=0
long=0
slurm=0
nccl=0
python=0
[ "${CI:-}" != true ] || { slurm=1 && nccl=1 && python=1; }
for arg in "$@"; do
  case "$arg" in
    --quick) quick=1 ;;
    --long) long=1 ;;
    --slurm) slurm=1 ;;
    --nccl) nccl=1 ;;
    --python) python=1 ;;
    -h|--help) sed -n '2,12p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "error: unknown option \`$arg\`" >&2; echo >&2; echo "hint: $usage" >&2; exit 2 ;;
  esac
done

# What the tests tell: skips (tests/skip), and times (scripts/test/record.sh).
DTRAIN_TEST_RECORD=$(mktemp -d)
export DTRAIN_TEST_RECORD DTRAIN_TEST_LONG=$long
summary=()
finish() {
  printf '\n'; printf '%s\n' "${summary[@]}"
  scripts/test/summary.sh "$DTRAIN_TEST_RECORD"
  rm -rf "$DTRAIN_TEST_RECORD"
}
trap finish EXIT

suite() { # name, command...
  local name=$1 begin=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  if "$@"; then
    summary+=("$(printf '%-28s ok     %4d s' "$name" $((SECONDS - begin)))")
  else
    summary+=("$(printf '%-28s FAILED %4d s' "$name" $((SECONDS - begin)))")
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

# It loads without a GPU. A set-up for GPUs has it among torch's wheels.
install_nccl() {
  compgen -G ".deps/nccl/nvidia/nccl/lib/libnccl.so.2" >/dev/null || compgen -G ".deps/nvidia/nccl/lib/libnccl.so.2" >/dev/null ||
    python3 -m pip install --quiet --no-compile --no-deps --target .deps/nccl nvidia-nccl-cu13==2.28.9
}

# Without `ensurepip`, which Debian keeps in a package of its own.
install_python() {
  local folder=$PWD/target/test-python
  export DTRAIN_TEST_PYTHON=$folder/bin/python
  "$DTRAIN_TEST_PYTHON" -c 'import numpy, tensorboard' 2>/dev/null && return
  python3 -m venv --without-pip --clear "$folder" &&
    python3 -m pip --quiet --python "$DTRAIN_TEST_PYTHON" install numpy tensorboard
}

# Open MPI refuses to run as root unless told twice; containers are often root.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# All calls are for the whole workspace: for one package cargo would choose other features of the crates below, and compile
# them, libtorch's bindings and the trainer once more.
record="target.'cfg(all())'.runner=[\"$PWD/scripts/test/record.sh\"]"
tests() { cargo --config "$record" test --release --quiet --workspace "$@"; }
# Processes wait for each other and for disks: one test at a time leaves a third of two cores idle.
whole_program() { DTRAIN_TEST_VERBOSE=1 tests --test whole_program -- --test-threads=2; }

suite "set-up" scripts/setup.sh
[ $slurm = 0 ] || suite "SLURM" install_slurm
[ $nccl = 0 ] || suite "NCCL" install_nccl
[ $python = 0 ] || suite "Python" install_python
suite "format" cargo fmt --all --check
suite "build" cargo build --release --workspace --lib --bins --examples
suite "lints" cargo clippy --release --workspace --all-targets -- -D warnings
suite "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet
suite "tests" tests --exclude dtrain-tests --tests
suite "documentation's tests" cargo test --release --quiet --workspace --doc
suite "bench harness" python3 -m unittest discover --quiet --start-directory bench/tests
[ $quick = 1 ] || suite "whole program" whole_program
[ $long = 0 ] || suite "soak" scripts/soak.sh
