//! A copy of the source tree to build mutants in, beside the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of the tree at `root` that git knows of, or would if they were added.
fn files(root: &Path) -> Result<Vec<String>, String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = git.output().map_err(|error| format!("git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let names = String::from_utf8(output.stdout).map_err(|error| format!("a file's name: {error}"))?;
    Ok(names.split_terminator('\0').filter(|name| root.join(name).is_file()).map(str::to_owned).collect())
}

/// Writes a file unless it is as it should be, so that nothing is built anew without need.
pub fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    if std::fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let folder = path.parent().expect("a file is in a folder");
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    std::fs::write(path, content).map_err(|error| format!("{}: {error}", path.display()))
}

/// Numbers that differ between contents.
#[derive(Clone, Debug)]
pub struct Digests {
    /// Of everything but the library's own test programs, documents and comments.
    pub code: u64,
    /// Of each file of these.
    pub tests: BTreeMap<String, u64>,
}

const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

fn mix(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, &byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Of source text without lines that are comments, which change nothing.
fn mix_code(content: &[u8]) -> u64 {
    let lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_start);
    lines.filter(|line| !line.starts_with(b"//")).fold(EMPTY, |digest, line| mix(mix(digest, line), b"\n"))
}

impl Digests {
    /// Of one test program, with what all share.
    pub fn of_test(&self, name: &str) -> u64 {
        let (file, folder) = (format!("tests/{name}.rs"), format!("tests/{name}/"));
        self.of_tests(|path| path == file || path.starts_with(&folder) || path.starts_with("tests/common/"))
    }

    pub fn of_all_tests(&self) -> u64 {
        self.of_tests(|_| true)
    }

    fn of_tests(&self, is_wanted: impl Fn(&str) -> bool) -> u64 {
        let wanted = self.tests.iter().filter(|(path, _)| is_wanted(path));
        wanted.fold(EMPTY, |digest, (path, of)| mix(mix(digest, path.as_bytes()), &of.to_ne_bytes()))
    }
}

/// Makes `copy` the same as `root`, but for the files that the caller writes itself.
pub fn copy(root: &Path, copy: &Path, but: &BTreeSet<String>) -> Result<Digests, String> {
    let mut digests = Digests { code: EMPTY, tests: BTreeMap::new() };
    let mut names = BTreeSet::new();
    for name in files(root)? {
        let path = root.join(&name);
        let content = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // What does not change a build or a test does not change a result.
        let matters = !name.ends_with(".md") && !["docs/", "scripts/", ".ci/"].iter().any(|top| name.starts_with(top));
        let of_content = if name.ends_with(".rs") { mix_code(&content) } else { mix(EMPTY, &content) };
        if name.starts_with("tests/") {
            digests.tests.insert(name.clone(), of_content);
        } else if matters {
            digests.code = mix(mix(digests.code, name.as_bytes()), &of_content.to_ne_bytes());
        }
        if !but.contains(&name) {
            write(&copy.join(&name), &content)?;
            let mode = std::fs::metadata(&path).map_err(|error| error.to_string())?.permissions();
            std::fs::set_permissions(copy.join(&name), mode).map_err(|error| error.to_string())?;
        }
        names.insert(name);
    }
    remove_others(copy, copy, &names)?;
    Ok(digests)
}

fn remove_others(top: &Path, folder: &Path, names: &BTreeSet<String>) -> Result<(), String> {
    let explain = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(explain)? {
        let path: PathBuf = entry.map_err(explain)?.path();
        if path.is_dir() {
            remove_others(top, &path, names)?;
        } else {
            let name = path.strip_prefix(top).expect("it is inside").to_string_lossy();
            if !names.contains(&*name) && name != "Cargo.lock" {
                std::fs::remove_file(&path).map_err(explain)?;
            }
        }
    }
    Ok(())
}
