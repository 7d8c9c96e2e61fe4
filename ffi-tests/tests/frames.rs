//! HTTP/2 frames, compared with libnghttp2 (`c/nghttp2/`), where that is installed (Debian: libnghttp2-dev).

use demuxbuf_ffi_tests::{Program, run_checks, skip, system_library};

#[test]
fn frames_and_errors_match_libnghttp2() {
    let Some(flags) = system_library("libnghttp2") else {
        return skip("comparing frames with libnghttp2, which is not installed");
    };
    let sources =
        ["main", "stream", "broken", "judge", "ours", "theirs"].map(|name| format!("ffi-tests/c/nghttp2/{name}.c"));
    let sources = sources.each_ref().map(String::as_str);
    let program = Program { flags, ..Program::new("nghttp2", &sources) }.build();
    // Under valgrind everything takes fifty times as long.
    let streams: &[&str] = if std::env::var_os("RUNNER").is_some() { &["60"] } else { &[] };
    println!("{}", run_checks(&program, streams));
}
