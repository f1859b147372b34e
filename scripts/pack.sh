#!/usr/bin/env bash
# Packs what a GPU machine without Rust, Open MPI and network needs to run scripts/gpu_check.sh: the stripped programs and
# the trainer's unit tests, Open MPI, a small data set and the checks. libtorch and NCCL come from that machine's Python
# (torch 2.11), so that a pack stays small.
#
#   scripts/pack.sh [OUT]                  OUT/ and OUT.tar.gz (default: target/pack)
#   scripts/pack.sh --binary FILE [OUT]    packs this program, and the worker beside it, instead of building
#   scripts/pack.sh --no-tests [OUT]       leaves the unit tests out
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

LIMIT_MB=60
# What one host does not need: adapters of other networks, remote shells (whose plugin ends the job where there is no
# ssh), batch systems, files over MPI, OpenSHMEM, tracing.
UNUSED='mca_(btl_(ofi|openib)|mtl_.*|pml_(ucx|cm|monitoring)|osc_(ucx|monitoring)|coll_monitoring|atomic_.*|memheap_.*|scoll_.*|spml_.*|sshmem_.*|.*_slurm|.*_flux|.*_jsm|plm_rsh|ras_(gridengine|simulator)|crs_.*|vprotocol_.*|fbtl_.*|fcoll_.*|fs_.*|io_.*|sharedfp_.*)\.so|libompi_dbg_msgq\.so|pmix_mca_prm_slurm\.so'
# Part of every Linux, or of libtorch.
GIVEN='^(ld-linux.*|linux-vdso|libc|libm|libdl|librt|libpthread|libutil|libresolv|libstdc\+\+|libgcc_s|libgomp.*|libtorch.*|libc10.*|libcudart|libcupti|libcu.*)\.so'

usage() { sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; }
fail() { # what, hint
  printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-3}"
}
say() { printf 'pack: %s\n' "$*" >&2; }

out="$root/target/pack"
binary=""
with_tests=1
while [ $# -gt 0 ]; do
  case "$1" in
    --binary) [ $# -ge 2 ] || fail "\`--binary\` needs a file" "$0 --binary FILE [OUT]" 2; binary=$2; shift ;;
    --no-tests) with_tests=0 ;;
    -h|--help) usage; exit 0 ;;
    -*) fail "unknown option \`$1\`" "$0 [--binary FILE] [--no-tests] [OUT]" 2 ;;
    *) out=$1 ;;
  esac
  shift
done

target=${CARGO_TARGET_DIR:-$root/target}
tests=""
if [ -z "$binary" ]; then
  (cd "$root" && cargo build --release --package dtrain)
  binary="$target/release/dtrain"
fi
worker=$(dirname "$binary")/dtrain-worker
[ -x "$binary" ] && [ -x "$worker" ] || fail "there is no program \`$binary\`, or no \`dtrain-worker\` beside it" "run \`cargo build --release\`, or give \`--binary FILE\`"
if [ $with_tests = 1 ]; then
  tests=$(cd "$root" && cargo test --release --package dtrain-trainer --lib --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*dtrain_trainer-[^"]*\)".*/\1/p' | tail -n 1)
  [ -x "$tests" ] || fail "the trainer's unit tests cannot be built" "run \`cargo test --release -p dtrain-trainer --no-run\`, or use --no-tests"
fi
mpirun=$(command -v mpirun) || fail "there is no \`mpirun\`" "run scripts/setup.sh"
command -v ompi_info >/dev/null || fail "\`mpirun\` is not Open MPI's" "put Open MPI on PATH: dtrain is built for it"
open_mpi_dir() { ompi_info --parsable --path "$1" | sed -n "s/^path:$1://p" | head -n 1; }

# --- the folder ---------------------------------------------------------------
# Only a folder that an earlier call has made is replaced.
if [ -e "$out" ]; then
  [ -f "$out/pack.json" ] || fail "\`$out\` exists and is no pack" "give another folder" 2
  rm -rf "$out"
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
printf '{}\n' >"$out/pack.json"
mkdir -p "$out/bin" "$out/scripts" "$out/bench" "$out/openmpi/bin" "$out/openmpi/lib/plugins" "$out/openmpi/share"

strip -o "$out/bin/dtrain" "$binary"
strip -o "$out/bin/dtrain-worker" "$worker"
[ -z "$tests" ] || strip -o "$out/bin/trainer_tests" "$tests"
cp "$root/scripts/gpu_check.sh" "$out/scripts/"
cp -r "$root/bench/gpu" "$root/bench/harness" "$out/bench/"
find "$out/bench" -name __pycache__ -exec rm -rf {} +

for program in orterun orted; do
  found=$(readlink -f "$(command -v $program)") || fail "Open MPI has no \`$program\`" "dtrain is built for Open MPI 4"
  cp "$found" "$out/openmpi/bin/$program"
done
ln -s orterun "$out/openmpi/bin/mpirun"
plugins=$(open_mpi_dir pkglibdir)
help=$(open_mpi_dir pkgdatadir)
[ -d "$plugins" ] && [ -d "$help" ] || fail "Open MPI's plugins are not at \`$plugins\`" "dtrain packs Open MPI 4 as Debian and Ubuntu install it"
for plugin in "$plugins"/*.so; do
  [[ $(basename "$plugin") =~ ^($UNUSED)$ ]] || cp -L "$plugin" "$out/openmpi/lib/plugins/"
done
cp -r "$help/." "$out/openmpi/share/"

# Libraries of all of them, each under the name that the linker asks for.
missing=()
while read -r name path; do
  [[ $name =~ $GIVEN ]] && continue
  [ "$path" = not ] && { missing+=("$name"); continue; }
  cp -Ln "$path" "$out/openmpi/lib/$name"
done < <(
  for file in "$binary" "$worker" "$out"/openmpi/bin/orte* "$out"/openmpi/lib/plugins/*.so; do ldd "$file"; done |
    sed -n 's/^[[:space:]]*\([^ ]*\) => \([^ ]*\).*/\1 \2/p' | sort -u
)
[ ${#missing[@]} = 0 ] || fail "libraries are missing here: ${missing[*]}" "fix this machine's Open MPI; \`ldd\` tells more"
find "$out/openmpi/lib" -name '*.so*' -exec strip --strip-unneeded {} +

# Every species keeps enough clips for batches of 16, and a step its share of the trap that the recipe is about.
"$binary" data make birdsong --out "$out/data/birdsong" --scale 0.25 2>/dev/null ||
  fail "the data set cannot be generated" "run \`$binary data make birdsong --out /tmp/birdsong\` and read its message"

# --- what it is, and its size --------------------------------------------------
commit=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
changed=$([ -z "$(git -C "$root" status --porcelain 2>/dev/null)" ] && echo false || echo true)
glibc=$(objdump -T "$out"/bin/dtrain* "$out"/openmpi/bin/orte* "$out"/openmpi/lib/*.so* 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
cat >"$out/pack.json" <<JSON
{
  "commit": "$commit",
  "dirty": $changed,
  "dtrain_sha256": "$(sha256sum "$out/bin/dtrain-worker" | cut -d ' ' -f 1)",
  "libtorch": "2.11",
  "mpi": "$("$mpirun" --version | head -n 1)",
  "needs": "${glibc:-unknown}"
}
JSON
sizes() { du -sk "$out"/*/ "$out" | awk '{printf "%8.1f MB  %s\n", $1 / 1024, $2}'; }
size_mb=$(du -sk "$out" | awk '{print int($1 / 1024) + 1}')
if [ "$size_mb" -gt $LIMIT_MB ]; then
  sizes >&2
  fail "the pack has $size_mb MB, more than $LIMIT_MB" "use --no-tests"
fi
tar -C "$(dirname "$out")" -czf "$out.tar.gz" "$(basename "$out")"
sizes >&2
say "$out.tar.gz has $(du -sk "$out.tar.gz" | awk '{printf "%.1f", $1 / 1024}') MB; there: tar xzf, then scripts/gpu_check.sh"
