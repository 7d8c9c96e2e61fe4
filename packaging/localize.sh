#!/bin/sh
# Makes an archive that can be linked beside the archive of another Rust library.
#
#   packaging/localize.sh ARCHIVE OUTPUT
#
# Each Rust archive has a copy of the language's run-time, whose symbols (rust_eh_personality and others) clash. OUTPUT has
# the content of ARCHIVE, libdemuxbuf.a, as one object in which only the functions demuxbuf_* are global. Needs GNU ld 2.29
# or later, objcopy and ar. Debug information is left out.
set -eu

archive=${1:?usage: packaging/localize.sh ARCHIVE OUTPUT}
output=${2:?usage: packaging/localize.sh ARCHIVE OUTPUT}
[ -f "$archive" ] || { echo "localize.sh: ARCHIVE is $archive, which is not a file" >&2 && exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Groups are resolved here: the final link would keep the group of one archive and drop that of the other, with a symbol
# that is local by then.
ld -r --force-group-allocation --whole-archive "$archive" -o "$folder/all.o"
objcopy --wildcard --keep-global-symbol='demuxbuf_*' --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd \
  "$folder/all.o" "$folder/demuxbuf.o"
rm -f "$output"
ar rcs "$output" "$folder/demuxbuf.o"
