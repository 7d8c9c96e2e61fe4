//! The committed list: mutants that no test can distinguish from the code, and those that only a longer run time shows,
//! each with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Survivors.
    #[serde(default)]
    survives: Vec<Group>,
    /// Noticed only because a test does not end.
    #[serde(default)]
    by_time: Vec<Group>,
}

/// Mutants with the same reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    reason: String,
    mutants: Vec<String>,
}

impl List {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// It cannot be read, has a group without a reason, or a mutant twice.
    pub fn read(path: &Path) -> Result<List, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let list: List = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut seen = BTreeSet::new();
        for group in list.survives.iter().chain(&list.by_time) {
            if group.reason.trim().is_empty() {
                return Err(format!("{}: a group has no reason: {:?}", path.display(), group.mutants));
            }
            for key in &group.mutants {
                if !seen.insert(key) {
                    return Err(format!("{}: twice: {key}", path.display()));
                }
            }
        }
        Ok(list)
    }

    /// Whether a mutant is listed as one that survives.
    pub fn survives(&self, key: &str) -> bool {
        self.survives.iter().any(|group| group.mutants.iter().any(|listed| listed == key))
    }

    /// Whether a mutant is listed as one that only a longer run time shows.
    pub fn is_by_time(&self, key: &str) -> bool {
        self.by_time.iter().any(|group| group.mutants.iter().any(|listed| listed == key))
    }

    /// All that is listed, by file.
    pub fn by_file(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for key in self.survives.iter().chain(&self.by_time).flat_map(|group| &group.mutants) {
            files.entry(key.split("::").next().unwrap_or_default()).or_default().push(key);
        }
        files
    }
}
