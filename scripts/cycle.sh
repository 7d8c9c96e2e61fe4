#!/bin/sh
# Instructions of one uncontended receive cycle, counted by callgrind: readable, 100 bytes received, all of them
# decoded, so that a buffer is taken and given back. The difference of two runs leaves start and end out. What a host
# does itself (the system call, the decoder) is not in it.
set -eu
cd "$(dirname "$0")/.."
folder=target/cycle
mkdir -p $folder
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 1; }

cargo build --quiet --release --example cycle
cargo capi --quiet
for linking in static shared; do
    case $linking in
    static) library=target/release/libdemuxbuf.a ;;
    shared) library="target/release/libdemuxbuf.so -Wl,-rpath,$PWD/target/release" ;;
    esac
    # shellcheck disable=SC2086 # one word for each flag
    "${CC:-cc}" -std=c11 -O2 -Wall -Wextra -Wpedantic -Werror -Iinclude scripts/cycle/cycle.c -o $folder/$linking \
        $library -lpthread -ldl -lm
done

instructions() { # PROGRAM COUNT
    valgrind --tool=callgrind --callgrind-out-file=$folder/callgrind.out "$1" "$2" 2>$folder/notes ||
        { cat $folder/notes >&2; exit 1; }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' $folder/notes
}

cycle() { # TITLE PROGRAM
    few=$(instructions "$2" 10000)
    many=$(instructions "$2" 30000)
    printf '%-24s %5d instructions\n' "$1" $(((many - few) / 20000))
}

rustc --version
cycle "Rust" target/release/examples/cycle
cycle "C, static library" $folder/static
cycle "C, shared library" $folder/shared
