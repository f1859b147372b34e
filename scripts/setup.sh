#!/usr/bin/env bash
# Installs what dtrain needs to build and run: Open MPI, libclang and libtorch.
#
#   scripts/setup.sh          CPU machine: Open MPI + libclang (apt), three libtorch wheels (545 MB) into .deps/
#   scripts/setup.sh --gpu    GPU machine: all of torch's wheels (2.6 GB: CUDA, cuDNN, NCCL)
#   scripts/setup.sh --check  report only, install nothing
#
# What is there already is used: an MPI on PATH (`mpicc`, `mpirun`), a libtorch 2.11.0 that LIBTORCH points to.
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH=2.11.0
DEPS="$PWD/.deps"
mode=cpu
check=0
for arg in "$@"; do
  case "$arg" in
    --gpu) mode=gpu ;;
    --check) check=1 ;;
    -h|--help) sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "error: unknown option \`$arg\`" >&2; echo >&2; echo "hint: $0 [--gpu] [--check]" >&2; exit 2 ;;
  esac
done

missing=()            # what a person has to provide
say() { printf 'setup: %s\n' "$*" >&2; }
need() { missing+=("$1"); }
may_apt() { command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# As bindgen looks for it; libclang-cpp.so is another library.
has_libclang() {
  local folder
  for folder in ${LIBCLANG_PATH:+"$LIBCLANG_PATH"} /usr/lib/llvm-*/lib /usr/lib/*/ /usr/lib64; do
    compgen -G "$folder/libclang.so*" >/dev/null && return 0
    compgen -G "$folder/libclang-[0-9]*.so*" >/dev/null && return 0
  done
  return 1
}

# --- Rust -------------------------------------------------------------------
command -v cargo >/dev/null 2>&1 ||
  need "Rust 1.89 or newer (https://rustup.rs), with cargo on PATH"

# --- compiler, MPI and libclang ---------------------------------------------
packages=()
command -v c++ >/dev/null 2>&1 || packages+=(g++)
{ command -v mpicc && command -v mpirun; } >/dev/null 2>&1 || packages+=(openmpi-bin libopenmpi-dev)
has_libclang || packages+=(libclang-dev)
if [ -z "${LIBTORCH:-}" ] && [ ! -d "$DEPS/torch" ]; then
  python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip) # fetches the wheels
fi
if [ ${#packages[@]} -gt 0 ]; then
  if [ $check = 0 ] && may_apt; then
    say "installing with apt-get: ${packages[*]}"
    log=$(mktemp)
    if ! { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y "${packages[@]}"; } >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      need "the packages ${packages[*]}: apt-get failed (whole log: $log)"
    fi
  else
    for p in "${packages[@]}"; do
      case "$p" in
        g++) need "a C++17 compiler as \`c++\` (package g++, or a compiler module)" ;;
        openmpi-bin) need "MPI with \`mpicc\` and \`mpirun\` on PATH (package openmpi-bin + libopenmpi-dev, or \`module load openmpi\`)" ;;
        python3-pip) need "python3 with pip, to fetch the libtorch wheels" ;;
        libclang-dev) need "libclang for bindgen (package libclang-dev, or LIBCLANG_PATH=<folder with libclang.so>)" ;;
      esac
    done
  fi
fi

# --- libtorch ----------------------------------------------------------------
torch_version() { sed -n "s/^__version__ = '\([0-9.]*\).*/\1/p" "$1/version.py" 2>/dev/null || true; }

# The CPU install lacks cuDNN and NCCL.
gpu_complete() { compgen -G "$1/../nvidia/cudnn/lib/libcudnn.so*" >/dev/null && compgen -G "$1/../nvidia/nccl/lib/libnccl.so*" >/dev/null; }

install_wheels() {
  python3 -m pip --version >/dev/null 2>&1 || return 0 # said above
  local staged="$DEPS.partial" log
  log=$(mktemp)
  rm -rf "$staged"
  if [ $mode = gpu ]; then
    say "fetching torch $TORCH with CUDA, cuDNN and NCCL into .deps/ (2.6 GB)"
    set -- "torch==$TORCH"
  else
    say "fetching libtorch $TORCH into .deps/ (545 MB)"
    set -- --no-deps "torch==$TORCH" nvidia-cuda-runtime nvidia-cuda-cupti
  fi
  if ! python3 -m pip install --no-compile --no-cache-dir --target "$staged" "$@" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    need "libtorch $TORCH: pip failed (whole log: $log). Or unpack it yourself and set LIBTORCH=<folder with lib/ and include/>"
    rm -rf "$staged"
    return
  fi
  rm -rf "$DEPS" && mv "$staged" "$DEPS"
}

if [ -n "${LIBTORCH:-}" ] && [ "$LIBTORCH" != "$DEPS/torch" ]; then
  if [ ! -d "$LIBTORCH/lib" ]; then
    need "LIBTORCH=$LIBTORCH has no lib/ folder: point it to libtorch $TORCH or unset it"
  else
    found=$(torch_version "$LIBTORCH"); [ -n "$found" ] || found=$(cat "$LIBTORCH/build-version" 2>/dev/null || true)
    case "$found" in
      ""|$TORCH*) ;;
      *) need "LIBTORCH=$LIBTORCH is version $found: dtrain binds $TORCH; point it to that version or unset it" ;;
    esac
  fi
elif [ "$(torch_version "$DEPS/torch")" != "$TORCH" ] || { [ $mode = gpu ] && ! gpu_complete "$DEPS/torch"; }; then
  if [ $check = 1 ]; then need "libtorch $TORCH in .deps/ (run scripts/setup.sh)"; else install_wheels; fi
fi

if [ ${#missing[@]} -gt 0 ]; then
  echo "error: ${#missing[@]} thing(s) to provide before dtrain can be built:" >&2
  for m in "${missing[@]}"; do echo "  - $m" >&2; done
  echo >&2
  echo "hint: provide them and run scripts/setup.sh again" >&2
  exit 3
fi
say "ready ($(mpirun --version 2>/dev/null | head -n 1), libtorch $TORCH)"
