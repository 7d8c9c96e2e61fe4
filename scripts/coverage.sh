#!/bin/sh
# The lines and branches of src/ that the tests reach, by file, and each that they do not: Rust tests and C programs
# together, without the demo and the attack. The unit tests in src/ are not counted themselves. A branch is one outcome, true
# or false, of one condition.
# Needs the compiler's own llvm-tools, which rustup installs. Branches are counted by a nightly toolchain only; without one
# it is the lines.
#
#   scripts/coverage.sh [FILE]      with FILE, such as src/scheduler.rs: of what is not reached only what is there
set -eu
cd "$(dirname "$0")/.."

flags="-C instrument-coverage"
if cargo +nightly --version >/dev/null 2>&1; then
    export RUSTUP_TOOLCHAIN=nightly
    flags="$flags -Z coverage-options=branch"
else
    echo "skipped: branches, for which a nightly toolchain is not installed"
fi
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
export RUSTFLAGS="$flags"
packages="--workspace --exclude demuxbuf-demo --exclude attack"

# What counts the lines is exported beside the functions of the header, so this one test cannot hold.
# shellcheck disable=SC2086 # one word for each flag
cargo test --quiet $packages --tests -- --skip library_exports_what_the_header_declares
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

# Unit tests are the last module of their file, or a file of that name.
grep -rn '^mod tests' src >"$folder/unit-tests"
awk -v root="$PWD/" -v wanted="${1:-}" -F '[:,]' '
    FILENAME ~ /unit-tests$/ { tests_at[$1] = $2; next }
    function note(what, at, count) {
        if (file in tests_at && $2 + 0 >= tests_at[file] + 0) return
        at = file ":" at
        if (!((what, at) in seen)) { seen[what, at] = 1; all[what, file]++; all[what]++ }
        if (count > 0 && !((what, at) in reached)) { reached[what, at] = 1; hits[what, file]++; hits[what]++ }
    }
    $1 == "SF" {
        file = index($2, root "src/") == 1 && $2 !~ /\/tests\.rs$/ ? substr($2, length(root) + 1) : ""
        files[file] = 1
    }
    $1 == "DA" && file != "" { note("line", $2, $3) }
    $1 == "BRDA" && file != "" { note("branch", $2 ":" $3 ":" $4, $5) }
    function cell(whole, hit) {
        return sprintf("%6d, %4d not reached, %6.2f %%", whole, whole - hit, whole ? 100 * hit / whole : 100)
    }
    function row(name, key) {
        return sprintf("%-28s lines %s; branches %s", name, cell(all["line" key], hits["line" key]),
                       cell(all["branch" key], hits["branch" key]))
    }
    function source(file, wanted_at,    at, text, found) {
        while ((getline text < file) > 0) if (++at == wanted_at) found = text
        close(file)
        gsub(/^ +/, "", found)
        return found
    }
    # A line that is not reached stands for all of its branches.
    function list(    key, parts, place, what) {
        for (key in seen) {
            split(key, parts, SUBSEP)
            split(parts[2], place, ":")
            if (key in reached || (wanted != "" && place[1] != wanted)) continue
            if (parts[1] == "branch" && ("line", place[1] ":" place[2]) in seen &&
                !(("line", place[1] ":" place[2]) in reached)) continue
            what = parts[1] == "line" ? "not reached" : place[4] % 2 ? "never false" : "never true"
            print place[1] ":" place[2] ": " what ": " source(place[1], place[2]) | "sort -t : -k 1,1 -k 2,2n"
        }
        close("sort -t : -k 1,1 -k 2,2n")
    }
    END {
        for (file in files) if (file != "") print row(file, SUBSEP file) | "sort"
        close("sort")
        print row("all", "")
        list()
    }' "$folder/unit-tests" "$folder/lines"
