//! FastCGI records, compared with libfcgi (`c/libfcgi/`), where that is installed (Debian: libfcgi-dev).

use demuxbuf_ffi_tests::{Program, run_checks, skip};
use std::process::Command;

/// The compiler's arguments for libfcgi.
fn flags() -> Option<Vec<String>> {
    let output = Command::new("pkg-config").args(["--cflags", "--libs", "fcgi"]).output().ok()?;
    let words = String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect();
    // The library stands before what needs it; sockets are beyond C11.
    let first = ["-D_GNU_SOURCE", "-Wl,--no-as-needed"].map(str::to_owned).to_vec();
    output.status.success().then(|| [first, words].concat())
}

#[test]
fn records_and_streams_match_libfcgi() {
    let Some(flags) = flags() else { return skip("comparing records with libfcgi, which is not installed") };
    if std::env::var_os("RUNNER").is_some() || std::env::var_os("CFLAGS").is_some() {
        return skip("comparing records with libfcgi under a tool: libfcgi leaks");
    }
    let sources = ["main", "request", "broken", "ours", "theirs"].map(|name| format!("ffi-tests/c/libfcgi/{name}.c"));
    let sources = sources.each_ref().map(String::as_str);
    let program = Program { flags, ..Program::new("libfcgi", &sources) }.build();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path().to_str().expect("its path is text");
    println!("{}", run_checks(&program, &[folder]));
}
