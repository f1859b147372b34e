#!/usr/bin/env bash
# Coverage-guided fuzzing of every parser of outside bytes. Needs a nightly Rust; without one it says so and ends well,
# since the same targets run as property tests in the ordinary suites.
#
#   scripts/fuzz.sh                 30 seconds for each target
#   scripts/fuzz.sh 600             ten minutes for each
#   scripts/fuzz.sh 600 wav yaml    only these
#
# What is found is kept in fuzz/artifacts/, what was learned in fuzz/corpus/. DTRAIN_FUZZ_JSON=FILE writes the figures.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  -h|--help) sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
  ''|*[!0-9]*)
    if [ -n "${1:-}" ]; then
      echo "error: \`$1\` is not a number of seconds" >&2; echo >&2; echo "hint: $0 [SECONDS [TARGET...]]" >&2; exit 2
    fi ;;
esac
seconds=${1:-30}
[ $# -gt 0 ] && shift

if ! cargo +nightly --version > /dev/null 2>&1; then
  echo "skipped: fuzzing needs a nightly Rust (\`rustup toolchain install nightly\`)"
  exit 0
fi

# The flags of cargo-fuzz, without a sanitizer: the parsers are safe Rust, memory is counted by the targets' allocator,
# and libtorch, which the trainer is linked to, was built without one. `--target` keeps build scripts free of them.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
cargo +nightly build --release --manifest-path fuzz/Cargo.toml --target "$host"
unset RUSTFLAGS
bin=fuzz/target/$host/release

known=$("$bin/seeds" fuzz/corpus)
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets <<< "$known"
for target in "${targets[@]}"; do
  grep -qx -- "$target" <<< "$known" || { echo "error: there is no target \`$target\`" >&2; echo >&2
    echo "hint: $(tr '\n' ' ' <<< "$known")" >&2; exit 2; }
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
rows=()
printf '%-14s %12s %10s %8s %8s  %s\n' target inputs per_sec edges corpus verdict
for target in "${targets[@]}"; do
  mkdir -p "fuzz/artifacts/$target"
  verdict=ok
  dict=()
  [ ! -s "fuzz/corpus/$target.dict" ] || dict=(-dict="fuzz/corpus/$target.dict") # an empty one is refused
  "$bin/$target" "fuzz/corpus/$target" "${dict[@]}" -max_total_time="$seconds" \
    -artifact_prefix="fuzz/artifacts/$target/" -max_len=65536 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
    > "$log" 2>&1 || { verdict=FAILED; failed=1; }
  stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -n 1; }
  last=$(grep -o 'cov: [0-9]* .*corp: [0-9]*' "$log" | tail -n 1)
  edges=$(sed -n 's/cov: \([0-9]*\).*/\1/p' <<< "$last")
  corpus=$(sed -n 's/.*corp: \([0-9]*\)/\1/p' <<< "$last")
  printf '%-14s %12s %10s %8s %8s  %s\n' "$target" "$(stat number_of_executed_units)" \
    "$(stat average_exec_per_sec)" "${edges:-?}" "${corpus:-?}" "$verdict"
  rows+=("{\"target\": \"$target\", \"inputs\": $(stat number_of_executed_units), \"seconds\": $seconds, \"edges\": ${edges:-0}, \"failed\": $([ $verdict = ok ] && echo false || echo true)}")
  [ $verdict = ok ] || grep -E "panicked at|^[a-z_]+: |SUMMARY|Test unit written" "$log" | head -n 8
done
if [ -n "${DTRAIN_FUZZ_JSON:-}" ]; then
  printf '[%s]\n' "$(IFS=,; echo "${rows[*]}")" > "$DTRAIN_FUZZ_JSON"
fi
exit $failed
