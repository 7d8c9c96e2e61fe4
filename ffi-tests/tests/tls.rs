//! Receivers under OpenSSL (`c/tls/`), where that is installed (Debian: libssl-dev).

use demuxbuf_ffi_tests::{Program, run_checks, skip, system_library};

#[test]
fn receivers_under_openssl() {
    let Some(flags) = system_library("openssl") else {
        return skip("receivers under OpenSSL, which is not installed");
    };
    println!("{}", run_checks(&Program { flags, ..Program::new("tls", &["ffi-tests/c/tls/main.c"]) }.build(), &[]));
}
