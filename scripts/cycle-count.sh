#!/bin/sh
# Instructions of each cycle that hosts play (benches/count.rs), counted by callgrind: they do not depend on load, and two
# runs give the same. With BASE also those of that commit, and the difference.
#
#   scripts/cycle-count.sh [BASE]       a table; BASE is a commit
#   scripts/cycle-count.sh --figures    the lines of benches/results/cycle-COMMIT.txt: a name and a count
#
# BASE is built with its own drivers in a worktree below target/, and counted once. A BASE that is older than this script
# has its figures in benches/results. Other compilers count otherwise: the figures name theirs.
set -eu
cd "$(dirname "$0")/.."
work=target/cycle-count
mkdir -p $work

valgrind --version >/dev/null 2>&1 || {
    echo "skipped: counting instructions, valgrind is not installed" >&2
    exit 1
}

# What the counts depend on beside the sources.
tools() {
    echo "# $(rustc --version)"
    echo "# $(${CC:-gcc} --version | head -n 1)"
}

# The figures of this tree. With the other packages the library would be built with their features.
count() {
    tools
    cargo bench --quiet --locked -p demuxbuf-benches --bench count
}

# The figures of a commit that has this script.
count_base() { # COMMIT
    tree=$work/tree
    git worktree remove --force $tree 2>/dev/null || true
    git worktree add --quiet --detach $tree "$1"
    CARGO_TARGET_DIR=$PWD/$work/target $tree/scripts/cycle-count.sh --figures >$work/unfinished
    git worktree remove --force $tree
    mv $work/unfinished "$work/$1.txt"
}

case ${1:-} in
--figures)
    count
    exit
    ;;
-*)
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

base=
if [ $# -gt 0 ]; then
    commit=$(git rev-parse --verify --quiet "$1^{commit}") || {
        echo "$1 is not a commit of this repository" >&2
        exit 2
    }
    base=$work/$commit.txt
    kept=$(find benches/results -name 'cycle-*.txt' | while read -r file; do
        short=${file##*/cycle-}
        case $commit in "${short%.txt}"*) echo "$file" ;; esac
    done)
    if ! git cat-file -e "$commit:scripts/cycle-count.sh" 2>/dev/null; then
        base=$kept
        [ -n "$base" ] || {
            echo "$1 is older than this script, and benches/results has no figures of it" >&2
            exit 2
        }
    elif ! [ -e "$base" ] || [ "$(grep '^#' "$base")" != "$(tools)" ]; then
        count_base "$commit"
    fi
    [ "$(grep '^#' "$base")" = "$(tools)" ] || {
        echo "note: $base was counted with other compilers:"
        grep '^#' "$base"
    }
fi

count >$work/now.txt
awk -v base="$base" '
    function line(name, now, then, change) {
        printf base == "" ? "%-24s %12s\n" : "%-24s %12s %12s %12s\n", name, now, then, change
    }
    BEGIN {
        line("cycle", "instructions", "base", "difference")
        while (base != "" && (getline text < base) > 0) {
            split(text, fields, " ")
            if (fields[1] != "#") before[fields[1]] = fields[2]
        }
    }
    $1 == "#" { next }
    {
        rows++
        change = "-"
        if ($1 in before) {
            change = sprintf("%+.1f", $2 - before[$1])
            if ($2 - before[$1] > 2) risen++
        }
        line($1, $2, $1 in before ? before[$1] : "-", change)
        delete before[$1]
    }
    END {
        for (name in before) line(name, "-", before[name], "-")
        if (base != "") printf "%d of %d cycles cost more than 2 instructions above the base\n", risen, rows
    }' $work/now.txt
