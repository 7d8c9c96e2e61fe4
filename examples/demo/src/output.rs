//! Where the report goes, and the picture beside it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The place of a report; its picture has the same name and ends in `.svg`.
#[derive(Clone, Debug)]
pub struct Output {
    report: PathBuf,
    picture: PathBuf,
}

impl Output {
    /// The usual place for what the program of this name writes.
    pub fn usual(program: &str) -> Output {
        Output::beside(demuxbuf_ffi_tests::target().join(program).join("report.json"))
    }

    /// The path that an option names.
    ///
    /// # Errors
    ///
    /// It is no place for a report and a picture.
    pub fn parse(text: &str) -> Result<Output, String> {
        let path = Path::new(text);
        if path.file_name().is_none() {
            return Err("it must name a file".into());
        }
        if path.extension().is_some_and(|ending| ending == "svg") {
            return Err("it must not end in .svg: the picture is written beside it under that name".into());
        }
        Ok(Output::beside(path.into()))
    }

    fn beside(report: PathBuf) -> Output {
        Output { picture: report.with_extension("svg"), report }
    }

    /// Sees that both can be written, which is better known before the work than after it.
    ///
    /// # Errors
    ///
    /// The path that cannot be written.
    pub fn prepare(&self) -> Result<(), String> {
        if let Some(folder) = self.report.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        for path in [&self.report, &self.picture] {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Writes both; returns the lines that name their paths.
    ///
    /// # Errors
    ///
    /// The path that cannot be written.
    pub fn write(&self, report: &impl Serialize, picture: &str) -> Result<String, String> {
        let text = serde_json::to_string(report).map_err(|error| format!("the report: {error}"))?;
        for (path, text) in [(&self.report, text.as_str()), (&self.picture, picture)] {
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(format!("report: {}\npicture: {}", self.report.display(), self.picture.display()))
    }
}
