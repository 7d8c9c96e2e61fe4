#!/bin/sh
# Runs the C and C++ tests under tools that find errors beyond assertions, and prints what ran and what was skipped:
# AddressSanitizer with its leak check and UndefinedBehaviorSanitizer, then valgrind's memcheck, then ThreadSanitizer where
# a nightly toolchain with rust-src can build the library for it.
#
#   ffi-tests/sanitize.sh [TEST ...]      only these of ffi-tests/tests; without any, those that each can run in time
#
# With a nightly toolchain the library is built for AddressSanitizer too. Without one, its own reads and writes are seen
# only where they go through the C library's functions, and by valgrind, which sees all. For both tools the library has the
# feature `poison`: an access to memory of a pool that is not lent is an error.
set -eu

cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
named=$*

# Runs the tests named on the command line, or else these, with the environment that the caller set for this one command.
# The words behind -- are for the tests.
run_tests() {
  tests=
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    tests="$tests $1"
    shift
  done
  [ $# -eq 0 ] || shift
  flags=
  for test in ${named:-$tests}; do
    flags="$flags --test $test"
  done
  # shellcheck disable=SC2086 # one word for each flag
  cargo test --quiet -p demuxbuf-ffi-tests $flags -- --nocapture "$@"
}

cargo clib --quiet --features poison --target-dir target/poison
poisoning=target/poison/release

echo 'int main(void) { return 0; }' >"$work/empty.c"
if "${CC:-gcc}" -fsanitize=address,undefined "$work/empty.c" -o "$work/empty" 2>/dev/null && "$work/empty"; then
  # Naming the target keeps the flags away from build scripts, which run without the sanitizer.
  machine=$(rustc -vV | sed -n 's/^host: //p')
  if RUSTFLAGS="-Zsanitizer=address" \
    cargo +nightly clib --quiet --features poison --target "$machine" --target-dir target/asan 2>"$work/nightly"; then
    export DEMUXBUF_LIBRARY="target/asan/$machine/release"
    echo "AddressSanitizer (programs and library), LeakSanitizer, UndefinedBehaviorSanitizer (programs):"
  else
    echo "the library for AddressSanitizer: skipped, $(tail -n 1 "$work/nightly")"
    export DEMUXBUF_LIBRARY=$poisoning
    echo "AddressSanitizer, LeakSanitizer, UndefinedBehaviorSanitizer (programs):"
  fi
  # A request for more memory than there is has to be refused as the C library would, not ended.
  CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DPOISONED" \
    ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1" \
    UBSAN_OPTIONS="print_stacktrace=1" run_tests c_api frames tasklet relay
  unset DEMUXBUF_LIBRARY
else
  echo "AddressSanitizer, UndefinedBehaviorSanitizer: skipped, ${CC:-gcc} has none"
fi

# The relay runs under valgrind with real clients, in relay-clients.sh. The tasklet host and the walk that looks for every
# documented error take minutes there; neither has memory of the library's own that others have not.
if command -v valgrind >/dev/null; then
  echo "valgrind memcheck:"
  export DEMUXBUF_LIBRARY=$poisoning
  CFLAGS=-DPOISONED \
  RUNNER="valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all" \
    run_tests c_api frames -- --skip events_return_only_documented_errors
  echo "valgrind memcheck of the relay with several event loops:"
  # A filter that matches nothing would pass.
  cargo test --quiet -p demuxbuf-ffi-tests --test relay -- --list threads::threads_release | grep -q ': test$' || {
    echo "FAILED: no test of the relay is named threads::threads_release"
    exit 1
  }
  RUNNER="valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all" \
    run_tests relay -- threads::threads_release
  echo "Memory that is not lent, with both tools:"
  run_tests poison
  unset DEMUXBUF_LIBRARY
else
  echo "valgrind memcheck: skipped, it is not installed"
fi

machine=$(rustc -vV | sed -n 's/^host: //p')
if RUSTFLAGS="-Zsanitizer=thread" \
  cargo +nightly clib --quiet -Zbuild-std --target "$machine" --target-dir target/tsan 2>"$work/nightly"; then
  echo "ThreadSanitizer (programs, library and its run-time):"
  # Addresses must not be random: the run-time wants some of them for itself. C++ has no other threads than C.
  CFLAGS="-fsanitize=thread ffi-tests/c/tsan/memory.c" DEMUXBUF_LIBRARY="target/tsan/$machine/release" \
    RUNNER="setarch -R" TSAN_OPTIONS="halt_on_error=1:allocator_may_return_null=1" \
    run_tests c_api relay -- --skip cxx_two_translation_units \
    --skip library_exports_what_the_header_declares \
    --skip events_return_only_documented_errors
  if [ -z "$named" ]; then
    echo "ThreadSanitizer, threads of a shared pool in Rust, whose pools come and go:"
    for package in "demuxbuf --test lifetimes --test overload_threads --test shared_tenants" \
      "demuxbuf-testkit --test shared_moves --test shared_pool"; do
      # shellcheck disable=SC2086 # one word for each flag
      RUSTFLAGS="-Zsanitizer=thread" TSAN_OPTIONS="halt_on_error=1:allocator_may_return_null=1" setarch -R \
        cargo +nightly test --quiet -Zbuild-std --target "$machine" --target-dir target/tsan -p $package
    done
  fi
else
  echo "ThreadSanitizer: skipped, $(tail -n 1 "$work/nightly")"
fi
