#!/bin/sh
# Runs every fuzz target for so many seconds, then counts how the work grows with the input. Stable Rust and a C++ compiler, which
# builds libFuzzer, are all it takes: what cargo-fuzz would pass on a nightly compiler is passed here. Needs Linux on x86_64 or arm64.
# What a target finds is a file in fuzz/artifacts, and the run fails; what it learns is kept in target/fuzz/corpus.
set -eu
seconds=${1:-60}
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
RUSTFLAGS=$flags ${CARGO:-cargo} build --manifest-path fuzz/Cargo.toml --release --target "$host" --target-dir target/fuzz
# Stores and manifests of the targets: in memory where that is possible, and gone with the run.
memory=/dev/shm
test -d "$memory" || memory=${TMPDIR:-/tmp}
TMPDIR=$(mktemp -d "$memory/activation-operator-fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
built=target/fuzz/$host/release
mkdir -p fuzz/artifacts
"$built/growth"
for target in ${TARGETS:-update_lines change_records stored_values manifests http_bodies}; do
    mkdir -p "target/fuzz/corpus/$target"
    echo "$target, for $seconds s"
    "$built/$target" "target/fuzz/corpus/$target" "fuzz/corpus/$target" -max_total_time="$seconds" -max_len=16384 -timeout=20 \
        -rss_limit_mb=2048 -malloc_limit_mb=256 -artifact_prefix="fuzz/artifacts/$target-" -print_final_stats=1 \
        -dict=fuzz/words.dict 2>"$TMPDIR/log" || { tail -50 "$TMPDIR/log"; exit 1; }
    grep -E 'DONE|number_of_executed_units|peak_rss_mb' "$TMPDIR/log" || true
done
