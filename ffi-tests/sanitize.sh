#!/bin/sh
# Runs the C and C++ tests under what finds errors that no assertion sees, and says what ran and what was skipped:
# AddressSanitizer with its leak check and UndefinedBehaviorSanitizer, then valgrind's memcheck; and ThreadSanitizer for the
# programs with threads, where a nightly toolchain with rust-src can build the library for it too.
#
#   ffi-tests/sanitize.sh [TEST ...]      the tests of ffi-tests/tests to run; c_api if none is named
#
# With a nightly toolchain the library is built for AddressSanitizer too. Without one, its own reads and writes are seen
# only where they go through the C library's functions, and by valgrind, which sees all.
set -eu

cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- c_api
tests=""
for test in "$@"; do
  tests="$tests --test $test"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Runs the tests named on the command line, with the environment that the caller set for this one command.
run_tests() {
  # shellcheck disable=SC2086 # one word for each flag
  cargo test --quiet -p demuxbuf-ffi-tests $tests -- --nocapture
}

echo 'int main(void) { return 0; }' >"$work/empty.c"
if "${CC:-gcc}" -fsanitize=address,undefined "$work/empty.c" -o "$work/empty" 2>/dev/null && "$work/empty"; then
  # Naming the target keeps the flags away from build scripts, which run without the sanitizer.
  machine=$(rustc -vV | sed -n 's/^host: //p')
  if RUSTFLAGS="-Zsanitizer=address" \
    cargo +nightly capi --quiet --target "$machine" --target-dir target/asan 2>"$work/nightly"; then
    export DEMUXBUF_LIBRARY="target/asan/$machine/release"
    echo "AddressSanitizer (programs and library), LeakSanitizer, UndefinedBehaviorSanitizer (programs):"
  else
    echo "the library for AddressSanitizer: skipped, $(tail -n 1 "$work/nightly")"
    echo "AddressSanitizer, LeakSanitizer, UndefinedBehaviorSanitizer (programs):"
  fi
  # A request for more memory than there is has to be refused as the C library would, not ended.
  CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" \
    ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1" \
    UBSAN_OPTIONS="print_stacktrace=1" run_tests
  unset DEMUXBUF_LIBRARY
else
  echo "AddressSanitizer, UndefinedBehaviorSanitizer: skipped, ${CC:-gcc} has none"
fi

if command -v valgrind >/dev/null; then
  echo "valgrind memcheck:"
  RUNNER="valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all" \
    run_tests
else
  echo "valgrind memcheck: skipped, it is not installed"
fi

machine=$(rustc -vV | sed -n 's/^host: //p')
if RUSTFLAGS="-Zsanitizer=thread" \
  cargo +nightly capi --quiet -Zbuild-std --target "$machine" --target-dir target/tsan 2>"$work/nightly"; then
  echo "ThreadSanitizer (programs, library and its run-time):"
  # Addresses must not be random: the run-time wants some of them for itself.
  CFLAGS="-fsanitize=thread ffi-tests/c/tsan/memory.c" DEMUXBUF_LIBRARY="target/tsan/$machine/release" \
    RUNNER="setarch -R" TSAN_OPTIONS="halt_on_error=1" \
    cargo test --quiet -p demuxbuf-ffi-tests --test c_api -- --nocapture --exact threads shards
else
  echo "ThreadSanitizer: skipped, $(tail -n 1 "$work/nightly")"
fi
