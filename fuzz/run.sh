#!/usr/bin/env bash
# Builds every fuzzer and runs each for SECONDS (an hour if none is given), one after the other, from the committed seeds
# and what earlier runs found. Prints executions, coverage and the size of the corpus. Needs a nightly toolchain and
# cargo-fuzz. With FUZZ_RUNS set, each runs that many inputs from one fixed seed instead, so that the outcome is always the
# same. What a fuzzer finds lies in fuzz/artifacts/TARGET: text, to be cut down by hand and committed as a named seed.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-3600}
limit=(-max_total_time="$seconds")
title="$seconds s"
if [ -n "${FUZZ_RUNS:-}" ]; then
    limit=(-runs="$FUZZ_RUNS" -seed=1)
    title="a fixed order"
fi
# A configuration may ask for more memory than there is: the library's answer is what is tested, not the allocator's.
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
cargo +nightly fuzz --version
cargo +nightly fuzz build --fuzz-dir . --target x86_64-unknown-linux-gnu
for target in ops ffi_ops shared_scheduler shared_ops shared_pools receiving memory_model h2_frames fcgi_records config; do
    mkdir -p corpus/$target artifacts/$target
    log=artifacts/$target.log
    if ! target/x86_64-unknown-linux-gnu/release/$target "${limit[@]}" \
        -max_len=4096 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix=artifacts/$target/ \
        corpus/$target seeds/$target >$log 2>&1; then
        tail -n 40 $log
        echo "FAILED: fuzzer $target; see fuzz/artifacts/$target"
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' $log)
    coverage=$(grep -o 'cov: [0-9]*' $log | tail -n 1)
    echo "$target: $runs executions in $title, ${coverage/cov: /} edges covered, $(find corpus/$target -type f | wc -l) texts in the corpus"
done
