//! A copy of the source tree to build mutants in, beside the real one.

use std::collections::BTreeSet;
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

/// Makes `copy` the same as `root`, but for the files that the caller writes itself; returns a number that differs
/// between trees.
pub fn copy(root: &Path, copy: &Path, but: &BTreeSet<String>) -> Result<u64, String> {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut mix = |bytes: &[u8]| {
        for &byte in bytes {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let mut names = BTreeSet::new();
    for name in files(root)? {
        let path = root.join(&name);
        let content = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // What does not change a build or a test does not change a result.
        if !name.ends_with(".md") && !name.starts_with("docs/") && !name.starts_with("scripts/") {
            mix(name.as_bytes());
            mix(&content);
        }
        if !but.contains(&name) {
            write(&copy.join(&name), &content)?;
            let mode = std::fs::metadata(&path).map_err(|error| error.to_string())?.permissions();
            std::fs::set_permissions(copy.join(&name), mode).map_err(|error| error.to_string())?;
        }
        names.insert(name);
    }
    remove_others(copy, copy, &names)?;
    Ok(digest)
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
