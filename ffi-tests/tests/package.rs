//! A C program needs only the files that `packaging/install.sh` installs.

use demuxbuf_ffi_tests::{root, run, skip, target};
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = r#"
#include <demuxbuf.h>
#include <stdio.h>

int main(void) {
  demuxbuf_pool_config config = {.struct_size = sizeof config};
  demuxbuf_pool *pool;
  if (demuxbuf_version() != DEMUXBUF_VERSION || demuxbuf_pool_config_init(&config, 1, 1) != DEMUXBUF_OK ||
      demuxbuf_pool_new(&config, &pool, NULL, 0) != DEMUXBUF_OK) {
    return 1;
  }
  demuxbuf_pool_free(pool);
  printf("%d.%d.%d\n", DEMUXBUF_VERSION_MAJOR, DEMUXBUF_VERSION_MINOR, DEMUXBUF_VERSION_PATCH);
  return 0;
}
"#;

fn is_missing(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_err()
}

fn compiler() -> String {
    std::env::var("CC").unwrap_or_else(|_| "gcc".into())
}

/// An empty folder outside the source tree, so that nothing is found by accident.
fn fresh_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("demuxbuf-package-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder for temporary files is writable");
    folder
}

struct Installed {
    folder: PathBuf,
    prefix: PathBuf,
}

impl Installed {
    fn new() -> Installed {
        let folder = fresh_folder();
        let prefix = folder.join("prefix");
        run(Command::new(root().join("packaging/install.sh")).arg(&prefix).env("CARGO_TARGET_DIR", target()));
        std::fs::write(folder.join("host.c"), SOURCE).expect("the folder was just made");
        Installed { folder, prefix }
    }

    fn pkg_config(&self, flags: &[&str]) -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", self.prefix.join("lib/pkgconfig"));
        run(command.args(flags).arg("demuxbuf")).split_whitespace().map(str::to_owned).collect()
    }

    fn has_static_c_library(&self) -> bool {
        std::fs::write(self.folder.join("empty.c"), "int main(void) { return 0; }\n").expect("the folder is writable");
        let mut command = Command::new(compiler());
        command.current_dir(&self.folder).args(["-static", "empty.c", "-o", "empty"]);
        command.output().is_ok_and(|output| output.status.success())
    }

    /// Compiles the program with these flags alone, in its folder.
    fn compile(&self, name: &str, flags: &[String]) -> PathBuf {
        let mut command = Command::new(compiler());
        command.current_dir(&self.folder).args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "host.c"]);
        run(command.args(["-o", name]).args(flags));
        self.folder.join(name)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The version that the loader will look for, from the file names that were installed.
fn soname(lib: &Path) -> String {
    let link = std::fs::read_link(lib.join("libdemuxbuf.so")).expect("the name for linking is a link");
    link.to_string_lossy().into_owned()
}

#[test]
fn pkg_config_is_enough_to_build() {
    if is_missing("pkg-config") {
        skip("building with pkg-config, which is not installed");
        return;
    }
    let installed = Installed::new();
    let lib = installed.prefix.join("lib");
    let version = installed.pkg_config(&["--modversion"]).concat();

    let shared = installed.compile("shared", &installed.pkg_config(&["--cflags", "--libs"]));
    let printed = run(Command::new(&shared).env("LD_LIBRARY_PATH", &lib));
    assert_eq!(printed.trim(), version);
    let without = Command::new(&shared).env_remove("LD_LIBRARY_PATH").output().expect("it starts");
    assert!(!without.status.success(), "it was linked against the shared library");
    let missing = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(missing.contains(&soname(&lib)), "it asks the loader for {}, not: {missing}", soname(&lib));

    let private = installed.pkg_config(&["--static", "--cflags", "--libs"]);
    let by_name = |flag: &String| if flag == "-ldemuxbuf" { "-l:libdemuxbuf.a".to_owned() } else { flag.clone() };
    let archive = installed.compile("archive", &private.iter().map(by_name).collect::<Vec<_>>());
    assert_eq!(run(Command::new(&archive).env_remove("LD_LIBRARY_PATH")).trim(), version);

    if installed.has_static_c_library() {
        let all = installed.compile("static", &[vec!["-static".to_owned()], private].concat());
        assert_eq!(run(Command::new(&all).env_remove("LD_LIBRARY_PATH")).trim(), version);
    } else {
        skip("a program without shared libraries: there is no C library to link statically");
    }
}

#[test]
fn relative_prefix_is_refused() {
    let output = Command::new(root().join("packaging/install.sh")).arg("some/where").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PREFIX is some/where; it has to be an absolute path"));
}
