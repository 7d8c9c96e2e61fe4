#!/usr/bin/env bash
# Formats all C and C++ files by `.clang-format`, except for generated headers. With `--check` it changes nothing and
# fails if a file is formatted otherwise. Versions of clang-format differ: Debian's default one counts.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1-}" in
'') mode=(-i) ;;
--check) mode=(--dry-run --Werror) ;;
*)
    echo "usage: $0 [--check]" >&2
    exit 2
    ;;
esac
if ! command -v clang-format >/dev/null; then
    echo "skipped: the format of C files, for which clang-format is not installed"
    exit 0
fi
git ls-files -z '*.c' '*.h' '*.cc' ':!include/demuxbuf.h' ':!ffi-tests/abi/*.h' | xargs -0 clang-format "${mode[@]}"
