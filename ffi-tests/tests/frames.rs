//! HTTP/2 frames, compared with libnghttp2 (`c/nghttp2/`), where that is installed (Debian: libnghttp2-dev).

use demuxbuf_ffi_tests::{Program, run_checks, skip};
use std::process::Command;

/// The compiler's arguments for libnghttp2.
fn flags() -> Option<Vec<String>> {
    let output = Command::new("pkg-config").args(["--cflags", "--libs", "libnghttp2"]).output().ok()?;
    let words = String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect();
    // The library stands before what needs it.
    output.status.success().then(|| [vec!["-Wl,--no-as-needed".to_owned()], words].concat())
}

#[test]
fn frames_and_errors_match_libnghttp2() {
    let Some(flags) = flags() else { return skip("comparing frames with libnghttp2, which is not installed") };
    let sources =
        ["main", "stream", "broken", "judge", "ours", "theirs"].map(|name| format!("ffi-tests/c/nghttp2/{name}.c"));
    let sources = sources.each_ref().map(String::as_str);
    let program = Program { flags, ..Program::new("nghttp2", &sources) }.build();
    // Under valgrind everything takes fifty times as long.
    let streams: &[&str] = if std::env::var_os("RUNNER").is_some() { &["60"] } else { &[] };
    println!("{}", run_checks(&program, streams));
}
