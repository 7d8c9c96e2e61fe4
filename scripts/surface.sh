#!/bin/sh
# How large the library's surface is, in figures of the sources (src, and capi if there is one): a name and a number.
#
#   scripts/surface.sh [BASE]     with BASE, a commit, also its figures where they differ
#
# Exact, from the parsed sources without `#[cfg(test)]`: exported functions, public fields, functions, unsafe blocks (those
# inside of macros are not seen), lengths. Lengths are lines outside of unit tests.
# Heuristic:
# - Public Rust items are what public modules define or re-export by name, and the methods and constants of those types;
#   names that occur twice count once. C items count as exported functions instead. Variants, fields and what a trait's
#   implementation brings are not counted.
# - Configurations are structures named *Config, *Policy, *Request or *Share; statistics are *Stats, *Info, *Counters or
#   *Counts. A structure as a field counts once.
# - A function only forwards if its body is one call with its own parameters in their order, to another function, or
#   to a field of its first; `?` and `unsafe` do not matter. One call with other arguments is counted apart.
# - A circle is a set of files that use each other by the paths they name, followed through re-exports. What passes between
#   a file and those of modules inside of it is left out, and what macros name is not seen.
set -eu
cd "$(dirname "$0")/.."
work=target/surface
cargo build --quiet --locked --release --manifest-path scripts/surface/Cargo.toml --target-dir $work
surface=$PWD/$work/release/surface
"$surface" >$work/now
[ $# -gt 0 ] || {
    cat $work/now
    exit
}

commit=$(git rev-parse --verify --quiet "$1^{commit}") || {
    echo "$1 is not a commit of this repository" >&2
    exit 2
}
rm -rf $work/base
mkdir -p $work/base
git archive "$commit" | tar -x -C $work/base
(cd $work/base && "$surface") >$work/before
awk '
    # Names that are indented belong to the last that is not.
    { text = $0; number = $NF; sub(/ *[^ ]*$/, "", text); if (text !~ /^ /) group = text; key = group "/" text }
    number !~ /^[0-9]+$/ { if (NR != FNR) print; next }
    NR == FNR { before[key] = number; next }
    { printf "%-48s %7d%s\n", text, number, key in before && before[key] == number ? "" : sprintf(" %7s", key in before ? before[key] : "-") }
' $work/before $work/now
