#!/bin/sh
# Changes the code of each file in every way that cargo-mutants knows, and by leaving out one statement at a time, and looks
# whether a test notices: first the library's own quick tests; then the slow ones, those of the oracle and the programs in
# C, for what these missed and docs/mutants.toml does not list. The exit status is 1 if a mutant survives that the list does
# not have, or if the list has one of these files that does not exist. Results are kept in target/mutants/results while
# nothing changes, so that a run that was stopped goes on where it was. Only one run at a time may be in a checkout.
#
#   scripts/mutants.sh FILE...              tries all mutants of these files
#   scripts/mutants.sh --sample N FILE...   tries about N of them, evenly spread
#   scripts/mutants.sh --list FILE...       prints them: place, what is changed, and key
#   scripts/mutants.sh --check              looks whether all that docs/mutants.toml lists exists, without a build
set -eu
cd "$(dirname "$0")/.."

# Builds are much of the time: without debug information.
: "${CARGO_PROFILE_DEV_DEBUG:=0}" "${CARGO_PROFILE_TEST_DEBUG:=0}"
export CARGO_PROFILE_DEV_DEBUG CARGO_PROFILE_TEST_DEBUG

target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --locked --manifest-path scripts/mutants/Cargo.toml --target-dir "$target/mutants/tool"
exec "$target/mutants/tool/debug/mutants" "$@"
