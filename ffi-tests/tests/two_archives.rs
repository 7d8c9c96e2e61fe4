//! A C program with this library and another that is written in Rust.

use demuxbuf_ffi_tests::{library, root, run, skip};
use std::path::Path;
use std::process::Command;

/// Both libraries have the language's run-time, with panics that are caught.
const OTHER: &str = r#"
#[unsafe(no_mangle)]
pub extern "C" fn other_sum(n: u32) -> u32 {
    std::panic::catch_unwind(|| {
        assert!(n != 7);
        (0..n).collect::<Vec<u32>>().iter().sum()
    })
    .unwrap_or(1)
}
"#;

const HOST: &str = r#"
#include <demuxbuf.h>
#include <stdio.h>

unsigned other_sum(unsigned n);

int main(void) {
  demuxbuf_pool_config config = {.struct_size = sizeof config};
  demuxbuf_pool *pool;
  uint64_t receiver;
  if (demuxbuf_pool_config_init(&config, 1 << 20, 10) ||
      demuxbuf_pool_new(&config, &pool, NULL, NULL) ||
      demuxbuf_receiver_attach(pool, NULL, &receiver, NULL, NULL)) {
    return 1;
  }
  demuxbuf_step step = demuxbuf_receiver_readable(pool, receiver);
  printf("%u %u %u\n", step.bytes, other_sum(10), other_sum(7));
  demuxbuf_pool_free(pool);
  return 0;
}
"#;

/// Links with these, in this order; returns what the program prints.
fn link(folder: &Path, libraries: &[&str], flags: &[&str]) -> String {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "gcc".into());
    let mut command = Command::new(compiler);
    command.current_dir(folder).arg("host.c").arg("-I").arg(root().join("include")).args(["-o", "host"]);
    run(command.args(libraries).args(flags).args(["-lpthread", "-ldl", "-lm"]));
    run(&mut Command::new(folder.join("host")))
}

#[test]
fn s77_links_beside_another_rust_archive() {
    if ["ld", "objcopy", "ar"].iter().any(|tool| Command::new(tool).arg("--version").output().is_err()) {
        skip("linking two Rust archives: ld, objcopy or ar is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let folder = folder.path();
    std::fs::write(folder.join("other.rs"), OTHER).expect("the folder was just made");
    std::fs::write(folder.join("host.c"), HOST).expect("the folder was just made");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(rustc);
    run(compile.current_dir(folder).args(["--edition", "2024", "-O", "--crate-type", "staticlib", "other.rs"]));
    let archive = library().join("libdemuxbuf.a");
    run(Command::new(root().join("packaging/localize.sh")).arg(&archive).arg(folder.join("libdemuxbuf.a")));

    let expected = "16448 45 1\n";
    for flags in [&[][..], &["-Wl,--gc-sections"]] {
        for order in [["libdemuxbuf.a", "libother.a"], ["libother.a", "libdemuxbuf.a"]] {
            assert_eq!(link(folder, &order, flags), expected, "{order:?} {flags:?}");
        }
    }
    let shared = library().join("libdemuxbuf.so");
    let path = format!("-Wl,-rpath,{}", library().display());
    let shared = shared.to_str().expect("the path is text");
    for order in [[shared, "libother.a"], ["libother.a", shared]] {
        assert_eq!(link(folder, &order, &[&path]), expected, "{order:?}");
    }
}
