//! Builds of the copy: what the compiler reports about them, and the programs that they make.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where the compiler found an error.
#[derive(Debug)]
pub struct Place {
    /// From the top of the tree.
    pub file: String,
    pub bytes: Range<usize>,
}

/// A build.
#[derive(Debug)]
pub struct Built {
    pub is_done: bool,
    /// Tests and programs, each with its package and name.
    pub programs: Vec<(String, PathBuf)>,
    pub errors: Vec<Place>,
    pub output: String,
}

/// Builds tests without running them.
///
/// # Errors
///
/// Cargo cannot be run.
pub fn build(tree: &Path, target: &Path, arguments: &[&str]) -> Result<Built, String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked", "--no-run", "--message-format=json"]).args(arguments);
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", target).stdin(Stdio::null());
    let output = cargo.output().map_err(|error| format!("cargo: {error}"))?;
    let mut built = Built {
        is_done: output.status.success(),
        programs: Vec::new(),
        errors: Vec::new(),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        match message["reason"].as_str() {
            Some("compiler-artifact") => {
                if let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str()) {
                    built.programs.push((name.to_owned(), path.into()));
                }
            }
            Some("compiler-message") if message["message"]["level"] == "error" => {
                let text = message["message"]["rendered"].as_str().unwrap_or_default();
                let spans = message["message"]["spans"].as_array().cloned().unwrap_or_default();
                // The place itself first, then what explains it.
                let is_primary = |span: &&Value| span["is_primary"] == true;
                let spans: Vec<&Value> =
                    spans.iter().filter(is_primary).chain(spans.iter().filter(|span| !is_primary(span))).collect();
                built.output += text;
                if let Some(span) = spans.first() {
                    let number = |key: &str| span[key].as_u64().unwrap_or(0) as usize;
                    built.errors.push(Place {
                        file: span["file_name"].as_str().unwrap_or_default().to_owned(),
                        bytes: number("byte_start")..number("byte_end"),
                    });
                }
            }
            _ => {}
        }
    }
    Ok(built)
}
