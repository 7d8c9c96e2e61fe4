#!/bin/sh
# Runs the tests N times beside LOAD busy loops, to see whether one of them depends on how busy the machine is. Prints one
# line for each run and, at the end, each test that failed with how often. The exit status is 1 if any failed. The output
# of each run is in target/quiet.
#
#   scripts/quiet.sh N LOAD [CARGO TEST ARGUMENT ...]      without further arguments: all tests, without doc tests
set -eu
cd "$(dirname "$0")/.."

is_number() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
}
if [ $# -lt 2 ] || ! is_number "$1" || ! is_number "$2" || [ "$1" -eq 0 ]; then
    echo "usage: scripts/quiet.sh N LOAD [CARGO TEST ARGUMENT ...], N at least 1" >&2
    exit 2
fi
runs=$1
load=$2
shift 2
[ $# -gt 0 ] || set -- --tests

folder=target/quiet
mkdir -p "$folder"
rm -f "$folder"/run-*.log
: >"$folder/failed"

loops=
finish() {
    for loop in $loops; do
        kill "$loop" 2>/dev/null || true
    done
    loops=
}
# Ends with the script, however that ends.
busy_loop() { # THE SCRIPT'S PROCESS
    while kill -0 "$1" 2>/dev/null; do
        turns=0
        while [ "$turns" -lt 100000 ]; do turns=$((turns + 1)); done
    done
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The build is not part of the check.
cargo test --quiet --locked --no-run "$@"

count=0
while [ "$count" -lt "$load" ]; do
    busy_loop $$ &
    loops="$loops $!"
    count=$((count + 1))
done

# The tests that failed in a log, one a line: PROGRAM TEST. A program that ends in another way, such as a signal or an
# abort, is named alone.
failures() {
    awk '
        function program(line) {
            sub(/^ +Running (unittests )?/, "", line)
            sub(/^ +Doc-tests /, "doc:", line)
            sub(/ \(.*/, "", line)
            return line
        }
        /^ +Running / || /^ +Doc-tests / { now = program($0); named = 0 }
        /^test .* \.\.\. FAILED$/ { sub(/^test /, ""); sub(/ \.\.\. FAILED$/, ""); print now " " $0; named = 1 }
        /^test result: FAILED/ && !named { print now }
        /process didn.t exit successfully/ && !named { sub(/.*successfully: /, ""); print now " " $0 }
    ' "$1"
}

failed_runs=0
run=1
while [ "$run" -le "$runs" ]; do
    log=$folder/run-$run.log
    began=$(date +%s)
    status=0
    cargo test --locked --no-fail-fast "$@" </dev/null >"$log" 2>&1 || status=$?
    took=$(($(date +%s) - began))
    passed=$(awk '/^test result: / { for (at = 2; at <= NF; at++) if ($at == "passed;") sum += $(at - 1) } END { print sum + 0 }' "$log")
    failures "$log" >"$folder/failed-now"
    failed=$(grep -c . "$folder/failed-now" || true)
    if [ "$status" -eq 0 ]; then
        echo "run $run of $runs: $passed passed in $took s"
    else
        failed_runs=$((failed_runs + 1))
        # Without a name it is cargo itself that failed.
        [ "$failed" -gt 0 ] || { tail -n 1 "$log" >"$folder/failed-now"; failed=1; }
        echo "run $run of $runs: $passed passed, $failed FAILED in $took s, see $log"
        cat "$folder/failed-now" >>"$folder/failed"
    fi
    run=$((run + 1))
done

echo "$((runs - failed_runs)) of $runs runs passed beside $load busy loops"
sort "$folder/failed" | uniq -c | sort -rn | sed 's/^ *\([0-9]*\) /failed \1 times: /'
[ "$failed_runs" -eq 0 ]
