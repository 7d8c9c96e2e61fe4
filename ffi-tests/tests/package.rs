//! A C program needs only the files that `packaging/install.sh` installs, and `cargo cinstall` installs the same.

use demuxbuf_ffi_tests::{root, run, skip, target};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = r#"
#include <demuxbuf.h>
#include <demuxbuf_posix.h>
#include <stdio.h>

int main(void) {
  demuxbuf_pool_config config = {.struct_size = sizeof config};
  demuxbuf_pool *pool;
  demuxbuf_posix_socket socket;
  if (demuxbuf_posix_socket_init(&socket, 0, 16448, NULL) != DEMUXBUF_ERR_NULL) {
    return 1;
  }
  if (demuxbuf_version() != DEMUXBUF_VERSION || demuxbuf_pool_config_init(&config, 1 << 20, 1) != DEMUXBUF_OK ||
      demuxbuf_pool_new(&config, &pool, NULL, NULL) != DEMUXBUF_OK) {
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

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn compiler() -> String {
    std::env::var("CC").unwrap_or_else(|_| "gcc".into())
}

/// An empty folder outside the source tree, so that nothing is found by accident.
fn fresh_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("demuxbuf-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder for temporary files is writable");
    folder
}

struct Installed {
    folder: PathBuf,
    prefix: PathBuf,
}

impl Installed {
    fn by_script(name: &str) -> Installed {
        let mut install = Command::new(root().join("packaging/install.sh"));
        install.env("CARGO_TARGET_DIR", target());
        Installed::by(name, install)
    }

    fn by_cargo_c() -> Installed {
        let mut install = cargo();
        install.args(["cinstall", "--locked", "--libdir", "lib", "--manifest-path"]);
        install.arg(root().join("capi/lib/Cargo.toml")).arg("--target-dir").arg(target().join("cargo-c"));
        install.arg("--prefix");
        Installed::by("cargo-c", install)
    }

    /// The command lacks its last argument, the prefix.
    fn by(name: &str, mut install: Command) -> Installed {
        let folder = fresh_folder(name);
        let prefix = folder.join("prefix");
        run(install.arg(&prefix));
        std::fs::write(folder.join("host.c"), SOURCE).expect("the folder was just made");
        Installed { folder, prefix }
    }

    fn pkg_config(&self, flags: &[&str]) -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", self.prefix.join("lib/pkgconfig"));
        run(command.args(flags).arg("demuxbuf")).split_whitespace().map(str::to_owned).collect()
    }

    /// All files and links, with their places below the prefix.
    fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        let mut folders = vec![self.prefix.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the folder was just made") {
                let path = entry.expect("the folder can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.strip_prefix(&self.prefix).expect("it lies below the prefix").to_owned());
                }
            }
        }
        files
    }

    /// A line of `demuxbuf.pc`.
    fn field(&self, name: &str) -> String {
        let file = self.prefix.join("lib/pkgconfig/demuxbuf.pc");
        let text = std::fs::read_to_string(file).expect("the file was installed");
        text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
    }

    /// Builds the program against the shared library and runs it; it asks the loader for this name.
    fn check_shared(&self, soname: &str) {
        let shared = self.compile("shared", &self.pkg_config(&["--cflags", "--libs"]));
        let printed = run(Command::new(&shared).env("LD_LIBRARY_PATH", self.prefix.join("lib")));
        assert_eq!(printed.trim(), self.version());
        let without = Command::new(&shared).env_remove("LD_LIBRARY_PATH").output().expect("it starts");
        assert!(!without.status.success(), "it was linked against the shared library");
        let missing = String::from_utf8_lossy(&without.stderr).into_owned();
        assert!(missing.contains(&format!("{soname}:")), "it asks the loader for {soname}, not: {missing}");
    }

    /// Builds the program with the archive and runs it.
    fn check_archive(&self) {
        let private = self.pkg_config(&["--static", "--cflags", "--libs"]);
        let by_name = |flag: &String| if flag == "-ldemuxbuf" { "-l:libdemuxbuf.a".to_owned() } else { flag.clone() };
        let archive = self.compile("archive", &private.iter().map(by_name).collect::<Vec<_>>());
        assert_eq!(run(Command::new(&archive).env_remove("LD_LIBRARY_PATH")).trim(), self.version());
    }

    fn version(&self) -> String {
        self.pkg_config(&["--modversion"]).concat()
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
    let installed = Installed::by_script("package");
    installed.check_shared(&soname(&installed.prefix.join("lib")));
    installed.check_archive();
    if installed.has_static_c_library() {
        let private = installed.pkg_config(&["--static", "--cflags", "--libs"]);
        let all = installed.compile("static", &[vec!["-static".to_owned()], private].concat());
        assert_eq!(run(Command::new(&all).env_remove("LD_LIBRARY_PATH")).trim(), installed.version());
    } else {
        skip("a program without shared libraries: there is no C library to link statically");
    }
}

#[test]
#[ignore = "builds the library once more"]
fn cargo_c_installs_the_same() {
    let has_cargo_c = cargo().args(["cinstall", "--version"]).output().is_ok_and(|output| output.status.success());
    if !has_cargo_c || is_missing("pkg-config") {
        skip("installing with cargo-c, which is not installed, or without pkg-config");
        return;
    }
    let (expected, installed) = (Installed::by_script("expected"), Installed::by_cargo_c());
    assert_eq!(installed.files(), expected.files());
    for name in ["include/demuxbuf.h", "include/demuxbuf_posix.h"] {
        let header = |installed: &Installed| std::fs::read(installed.prefix.join(name)).expect("it is there");
        assert!(header(&installed) == header(&expected), "{name} as committed, unchanged");
    }
    for name in ["includedir", "Name", "Description", "Version", "Cflags", "Libs:"] {
        assert_eq!(installed.field(name), expected.field(name));
    }
    installed.check_shared(&soname(&expected.prefix.join("lib")));
    installed.check_archive();
}

#[test]
fn relative_prefix_is_refused() {
    let output = Command::new(root().join("packaging/install.sh")).arg("some/where").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PREFIX is some/where; it has to be an absolute path"));
}
