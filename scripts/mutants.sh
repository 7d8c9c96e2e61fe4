#!/bin/sh
# Changes the code of each file in every way that cargo-mutants knows, one at a time, and looks whether a test notices:
# first the fast tests; then all of them, for what these missed and docs/mutants.md does not list. Prints what nothing
# noticed and the list does not have. The results lie in target/mutants/FILE; what was caught is not tried again, so that
# a run that was stopped goes on where it was.
#
#   scripts/mutants.sh [FILES]      without FILES: connection, pool, receiver and framing, which takes hours
#
# Needs cargo-mutants: cargo install --locked cargo-mutants
set -eu
cd "$(dirname "$0")/.."

cargo mutants --version >/dev/null 2>&1 || {
    echo "cargo-mutants is missing: cargo install --locked cargo-mutants" >&2
    exit 1
}
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # one word for each file
    set -- $(find src/connection* src/pool* src/receiver* src/framing* -name '*.rs' ! -name tests.rs | sort)
fi

# Builds are most of the time: without debug information, and with what is not ours built once.
export CARGO_PROFILE_DEV_DEBUG=0
export CARGO_TARGET_DIR="$PWD/target/mutants/build"
mkdir -p target/mutants
sed -n '/^## Caught/q; s/^- `\(src\/.*\)`$/\1/p' docs/mutants.md >target/mutants/listed

# 2 and 3 mean that mutants were missed or ran out of time, which is a result.
try() { # OPTIONS...
    cargo mutants --iterate --jobs 1 --exclude-re tests:: --cargo-arg=--locked \
        --output "target/mutants/$file" --file "$file" "$@" ||
        case $? in 2 | 3) ;; *) exit 1 ;; esac
}

for file; do
    mkdir -p "target/mutants/$file"
    out=target/mutants/$file/mutants.out
    # The random runs are the slowest tests; the second round has them.
    try --timeout 60 -- --lib --test completion --test explore --test framing_h2 --test messages --test overload \
        --test progress --test receiver --test receiver_threads --test scenarios --test shards --test sync -- \
        --skip attack:: --skip bound::a_ --skip s40_ --skip s41_ --skip whatever_ --skip the_cap_in_bytes \
        --skip come_and_go
    # What ran out of time counts as caught, and what is listed is known: the rest is tried again.
    { cat "$out/timeout.txt"; grep -xFf target/mutants/listed "$out/missed.txt" || true; } >>"$out/caught.txt"
    try --timeout 1200 --test-package demuxbuf,demuxbuf-oracle,demuxbuf-ffi-tests
done

echo "missed, and not listed in docs/mutants.md:"
find target/mutants -path '*/mutants.out/missed.txt' -exec cat {} + | grep -vxFf target/mutants/listed | sort
