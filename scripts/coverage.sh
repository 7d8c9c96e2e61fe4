#!/bin/sh
# The lines of src/ that the tests reach, by file: Rust tests and C programs together, without the demo. Needs the
# compiler's own llvm-tools, which rustup installs.
#
#   scripts/coverage.sh [FILE]      FILE of src/: shows its lines with how often each was reached, instead of the table
set -eu
cd "$(dirname "$0")/.."

machine=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$machine/bin
[ -x "$tools/llvm-cov" ] || rustup component add llvm-tools || {
    echo "llvm-cov is missing: rustup component add llvm-tools" >&2
    exit 1
}

folder=$PWD/target/coverage
rm -rf "$folder/profiles" "$folder/c"
export CARGO_TARGET_DIR="$folder"
export LLVM_PROFILE_FILE="$folder/profiles/%p-%m.profraw"
export RUSTFLAGS="-C instrument-coverage"
packages="-p demuxbuf -p demuxbuf-ffi-tests -p demuxbuf-oracle"

# What counts the lines is exported beside the functions of the header, so this one test cannot hold.
# shellcheck disable=SC2086 # one word for each flag
cargo test --quiet $packages --tests -- --skip the_library_exports_what_the_header_declares_and_nothing_else
"$tools/llvm-profdata" merge --sparse "$folder"/profiles/*.profraw --output "$folder/tests.profdata"

# Test programs, the library that C programs link at run time, and the C programs that have it inside.
# shellcheck disable=SC2086
objects=$(cargo test --quiet $packages --tests --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/--object \1/p')
objects="$objects --object $folder/release/libdemuxbuf.so"
for program in "$folder"/c/*_static; do
    objects="$objects --object $program"
done

if [ $# -gt 0 ]; then
    # shellcheck disable=SC2086
    exec "$tools/llvm-cov" show --instr-profile="$folder/tests.profdata" $objects --sources "$@"
fi
# shellcheck disable=SC2086
"$tools/llvm-cov" report --instr-profile="$folder/tests.profdata" $objects --sources src >"$folder/report.txt"
awk '
    /^(Filename|TOTAL|[a-z_\/0-9]+\.rs)/ {
        if ($1 == "Filename") printf "%-28s %8s %8s %9s\n", "src/", "lines", "missed", "reached"
        else printf "%-28s %8d %8d %9s\n", $1, $8, $9, $10
    }' "$folder/report.txt"
