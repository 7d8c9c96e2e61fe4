#!/bin/sh
# The lines of src/ that the tests reach, by file: Rust tests and C programs together, without the demo. Needs the
# compiler's own llvm-tools, which rustup installs.
#
#   scripts/coverage.sh [FILE]      with FILE, such as src/pool.rs: its lines that were not reached, below the table
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
packages="--workspace --exclude demuxbuf-demo"

# What counts the lines is exported beside the functions of the header, so this one test cannot hold.
# shellcheck disable=SC2086 # one word for each flag
cargo test --quiet $packages --tests -- --skip the_library_exports_what_the_header_declares_and_nothing_else
"$tools/llvm-profdata" merge --sparse "$folder"/profiles/*.profraw --output "$folder/tests.profdata"

# The library is in several objects, built differently each time, and C functions have the same name in all of them: so
# each object is read by itself, and a line is reached if it was in any. The shared library stands for the archive too;
# the models for loom are empty here.
# shellcheck disable=SC2086
objects=$(cargo test --quiet $packages --tests --no-run --message-format=json |
    sed -n '/deps\/loom-/d; s/.*"executable":"\([^"]*\)".*/\1/p')
rm -f "$folder/lines"
for object in $objects "$folder/release/libdemuxbuf.so"; do
    "$tools/llvm-cov" export --format=lcov --instr-profile="$folder/tests.profdata" "$object" \
        >>"$folder/lines" 2>"$folder/notes" || { cat "$folder/notes" >&2; exit 1; }
done

awk -v root="$PWD/" -v wanted="${1:-}" -F '[:,]' '
    $1 == "SF" { file = index($2, root "src/") == 1 ? substr($2, length(root) + 1) : "" }
    $1 == "DA" && file != "" {
        line = file ":" $2
        if (!(line in seen)) { seen[line] = 1; lines[file]++ }
        if ($3 > 0 && !(line in reached)) { reached[line] = 1; hits[file]++ }
    }
    function row(name, all, hit) {
        return sprintf("%-28s %6d lines, %4d not reached, %6.2f %%", name, all, all - hit, 100 * hit / all)
    }
    END {
        for (file in lines) { print row(file, lines[file], hits[file]) | "sort"; all += lines[file]; hit += hits[file] }
        close("sort")
        print row("all", all, hit)
        for (line in seen) if (!(line in reached) && index(line, wanted ":") == 1) print line | "sort -t : -k 2 -n"
    }' "$folder/lines"
