//! Lines of code and of comments, in Rust and C.

use std::ops::AddAssign;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Default)]
pub struct Lines {
    pub code: usize,
    pub comments: usize,
    pub blank: usize,
}

impl AddAssign for Lines {
    fn add_assign(&mut self, other: Lines) {
        self.code += other.code;
        self.comments += other.comments;
        self.blank += other.blank;
    }
}

impl Lines {
    pub fn all(&self) -> usize {
        self.code + self.comments + self.blank
    }
}

/// The lines of a text: those outside of unit tests, and those of unit tests. A module `mod tests` at the end of a file
/// is such; a line with code and a comment is code; a block comment in a line of code counts as code.
pub fn count(text: &str) -> (Lines, Lines) {
    let (mut outside, mut tests) = (Lines::default(), Lines::default());
    let (mut is_in_comment, mut is_in_tests) = (false, false);
    let mut before = "";
    for line in text.lines() {
        let line = line.trim();
        is_in_tests |= before == "#[cfg(test)]" && line.starts_with("mod ") && line.ends_with('{');
        let lines = if is_in_tests { &mut tests } else { &mut outside };
        if line.is_empty() {
            lines.blank += 1;
        } else if is_in_comment || line.starts_with("//") || line.starts_with("/*") {
            lines.comments += 1;
            is_in_comment = (is_in_comment || line.starts_with("/*")) && !line.contains("*/");
        } else {
            lines.code += 1;
        }
        before = line;
    }
    (outside, tests)
}

/// Files in Rust, C and C++ below a folder, in order; none if there is no such folder.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let is_named = |name: &str| path.file_name().is_some_and(|file| file == name);
        if path.is_dir() && !is_named("target") && !is_named("corpus") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ["rs", "c", "h", "cc"].iter().any(|known| ending == *known)) {
            found.push(path);
        }
    }
    found
}
