//! The documentation prints the code that is compiled and run, and lists the statuses of the header.
//!
//! In a Markdown file, `<!-- file: PATH -->` promises that the code block below it is the text of that file.

use demuxbuf_ffi_tests::{Program, root};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MINIMAL: &str = "examples/c/minimal.c";
/// The files that each page prints.
const SHOWN: [(&str, &str); 3] =
    [("README.md", MINIMAL), ("docs/c-api.md", MINIMAL), ("docs/c-api.md", "examples/c/epoll_loop.c")];

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The paths that a text promises to show and the code blocks below them.
fn shown(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("<!-- file: ").skip(1);
    let block = |part: &'_ str| -> Option<(usize, usize, usize)> {
        let path = part.find(" -->\n```")?;
        let start = path + part[path + 5..].find('\n')? + 6;
        Some((path, start, start + part[start..].find("```\n")?))
    };
    let pair = |part| block(part).map(|(path, start, end): (usize, usize, usize)| (&part[..path], &part[start..end]));
    parts.map(|part: &str| pair(part).unwrap_or_else(|| panic!("no code block below: {part:.60}"))).collect()
}

#[test]
fn pages_print_the_files_they_name() {
    let mut pages: Vec<PathBuf> = std::fs::read_dir(root().join("docs"))
        .expect("docs/ is readable")
        .map(|entry| entry.expect("docs/ is readable").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    for (page, path) in SHOWN {
        assert!(read(page).contains(&format!("<!-- file: {path} -->\n")), "{page} shows {path}");
    }
    pages.push(root().join("README.md"));
    for page in pages {
        for (path, block) in shown(&read(&page)) {
            assert_eq!(block, read(path), "{} does not show {path} as it is", page.display());
        }
    }
}

#[test]
fn minimal_host_decodes_frames_in_pieces() {
    let program = Program::new("minimal", &[MINIMAL]).build();
    let mut host = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program that was just built starts");
    let mut input = host.stdin.take().expect("standard input is a pipe");
    // A length of 255 is the largest frame; 300 frames go through the pool many times.
    let mut expected = String::new();
    let mut sent = Vec::new();
    for frame in 0..300_u32 {
        let payload = char::from(b'a' + (frame % 26) as u8).to_string().repeat((frame % 256) as usize);
        sent.push((frame % 256) as u8);
        sent.extend_from_slice(payload.as_bytes());
        expected += &format!("{payload}\n");
    }
    sent.extend_from_slice(b"\x09half");
    expected += "end, 5 bytes of a partial frame\n";
    for piece in sent.chunks(977) {
        input.write_all(piece).expect("the program reads");
    }
    drop(input);
    let output = host.wait_with_output().expect("the program ends");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn status_table_matches_the_header() {
    let header = read("include/demuxbuf.h");
    let lines: Vec<&str> = header.lines().collect();
    let is_status = |name: &str| {
        matches!(name, "DEMUXBUF_OK" | "DEMUXBUF_STATUS_QUEUED" | "DEMUXBUF_STATUS_NONE")
            || name.starts_with("DEMUXBUF_ERR_")
    };
    let mut expected = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, number)) = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        if is_status(name) {
            let comment = lines[..at].iter().rev().map_while(|line| line.strip_prefix("// "));
            let meaning = comment.collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" ");
            expected.push(format!("| `{name}` | {} | {meaning} |", number.trim_matches(['(', ')'])));
        }
    }
    assert!(expected.len() > 20, "the header was misread: {expected:?}");
    let page = read("docs/c-api.md");
    let table: Vec<&str> = page.lines().filter(|line| line.starts_with("| `DEMUXBUF_")).collect();
    assert_eq!(table, expected, "docs/c-api.md lists other statuses than the header");
}

/// Every name of a variant of an enumeration in a source file.
fn variants(path: &str, name: &str) -> Vec<String> {
    let source = read(path);
    let start = source.find(&format!("pub enum {name} {{\n")).unwrap_or_else(|| panic!("{path} has {name}"));
    let body = &source[start..start + source[start..].find("\n}\n").expect("the enumeration ends")];
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let lines = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    lines.map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn porting_page_names_each_event_and_action() {
    let page = read("docs/porting.md");
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let mut expected = variants("src/connection/event.rs", "Event");
    expected.extend(variants("src/connection/action.rs", "Action"));
    assert!(expected.len() > 30, "the sources were misread: {expected:?}");
    let missing: Vec<_> = expected.iter().filter(|name| !named.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "docs/porting.md does not name {missing:?}");
}

/// Checks the tests that a text names, and counts them. A file in backticks is followed by the names of tests in it,
/// with nothing but space in between.
fn check_named_tests(text: &str) -> u32 {
    let pieces: Vec<&str> = text.split('`').collect();
    let mut file = None;
    let mut tests = 0;
    for pair in pieces.chunks_exact(2) {
        let (between, word) = (pair[0], pair[1]);
        if word.ends_with(".rs") {
            file = Some(word);
        } else if let (true, Some(path)) = (between.trim().is_empty(), file) {
            let source = read(path);
            let is_test = source.split("#[test]\n").skip(1).any(|test| test.trim().starts_with(&format!("fn {word}(")));
            assert!(is_test, "{path} has no test {word}");
            tests += 1;
        } else {
            file = None;
        }
    }
    tests
}

#[test]
fn verification_page_names_existing_tests() {
    let page = read("docs/verification.md");
    let part = page.split("\n## ").find(|part| part.starts_with("Guarantees")).expect("the page has this part");
    let tests = check_named_tests(part);
    assert!(tests > 20, "docs/verification.md was misread: {tests} tests");
}

/// Each threat names what shows it. Each open one has a test that fails once it is mended; its name begins with
/// `open_`.
#[test]
fn threats_page_names_existing_tests() {
    let page = read("docs/threats.md");
    let tests = check_named_tests(&page);
    assert!(tests > 30, "docs/threats.md was misread: {tests} tests");
    let source = read("tests/threats.rs");
    let tests = source.split("#[test]\nfn ").skip(1).filter_map(|test| test.split('(').next());
    let open: Vec<&str> = tests.filter(|test| test.starts_with("open_")).collect();
    assert!(!open.is_empty(), "tests/threats.rs was misread");
    let (_, table) = page.split_once("\n## Open threats\n").expect("the page has this part");
    let missing: Vec<_> = open.iter().filter(|test| !table.contains(&format!("| `{test}` |"))).collect();
    assert!(missing.is_empty(), "docs/threats.md does not list {missing:?}");
}
