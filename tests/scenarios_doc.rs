//! The last column of `docs/scenarios.md` names the tests of each scenario that the tree has, and no others; the tables
//! of `docs/testing.md` name every test program, and no others.
//!
//! `DEMUXBUF_RENEW_SCENARIOS=1 cargo test --test scenarios_doc` writes the column anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 7] = ["capi", "examples", "ffi-tests", "oracle", "src", "testkit", "tests"];
const SCENARIOS: usize = 93;
/// In the column of a scenario without a test.
const OPEN: &str = "*open*";

/// The source files of Rust and C below a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.sort();
    let is_source = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "rs" || ending == "c");
    let below = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    paths.into_iter().flat_map(below).filter(is_source).collect()
}

/// The name of a scenario's test if this line begins one: `fn s01_name() {` or `static void s01_name(void)`.
fn test_in(line: &str) -> Option<&str> {
    let signature = line.trim_start();
    let (name, rest) =
        signature.strip_prefix("fn ").or_else(|| signature.strip_prefix("static void "))?.split_once('(')?;
    let is_numbered = matches!(name.as_bytes(), [b's', b'0'..=b'9', b'0'..=b'9', b'_', ..]);
    (is_numbered && (rest.starts_with(')') || rest.starts_with("void)"))).then_some(name)
}

/// By number (`S01`): each test with its file.
fn tests_of_tree(root: &Path) -> BTreeMap<String, Vec<(String, String)>> {
    let mut tests: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for path in FOLDERS.iter().flat_map(|folder| sources(&root.join(folder))) {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = path.strip_prefix(root).expect("the file is in the tree").display().to_string();
        for name in text.lines().filter_map(test_in) {
            tests.entry(name[..3].to_uppercase()).or_default().push((file.clone(), name.to_owned()));
        }
    }
    tests
}

/// The column's text: each file with its tests.
fn cell(tests: &[(String, String)]) -> String {
    let mut cell = String::new();
    for (at, (file, name)) in tests.iter().enumerate() {
        match at.checked_sub(1).map(|before| &tests[before].0) {
            Some(before) if before == file => cell += &format!(", `{name}`"),
            Some(_) => cell += &format!("; `{file}`: `{name}`"),
            None => cell += &format!("`{file}`: `{name}`"),
        }
    }
    if cell.is_empty() { OPEN.into() } else { cell }
}

/// The top of the tree; this test is a target of the kit's package.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn scenario_table_names_all_tests_of_the_tree() {
    let root = root();
    let page = root.join("docs/scenarios.md");
    let text = std::fs::read_to_string(&page).expect("docs/scenarios.md exists");
    let mut tests = tests_of_tree(root);
    let mut numbers = Vec::new();
    let mut expected = String::new();
    for line in text.lines() {
        let row = line.strip_prefix("| S").map(|row| row.split(" | ").collect::<Vec<_>>());
        match row.as_deref() {
            Some([number, sequence, wrong, right, ..]) => {
                let number = format!("S{number}");
                let right = right.trim_end_matches([' ', '|']);
                let tests = tests.remove(&number).unwrap_or_default();
                expected += &format!("| {number} | {sequence} | {wrong} | {right} | {} |\n", cell(&tests));
                numbers.push(number);
            }
            Some(_) => panic!("a row without four columns: {line}"),
            None => expected += &format!("{line}\n"),
        }
    }
    assert_eq!(numbers, (1..=SCENARIOS).map(|number| format!("S{number:02}")).collect::<Vec<_>>(), "one row each");
    assert!(tests.is_empty(), "tests of scenarios that the table does not have: {tests:?}");
    if std::env::var_os("DEMUXBUF_RENEW_SCENARIOS").is_some() {
        return std::fs::write(&page, expected).expect("docs/scenarios.md can be written");
    }
    for (line, expected) in text.lines().zip(expected.lines()) {
        assert_eq!(line, expected, "run `DEMUXBUF_RENEW_SCENARIOS=1 cargo test --test scenarios_doc`");
    }
}

/// Test programs of a package: `name.rs`, or `name/` with a `main.rs`.
fn programs(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let name = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        let is_folder = path.join("main.rs").exists();
        (is_folder || name.ends_with(".rs")).then(|| if is_folder { name + "/" } else { name })
    };
    paths.filter_map(name).collect()
}

#[test]
fn testing_page_names_every_test_program() {
    let root = root();
    let page = std::fs::read_to_string(root.join("docs/testing.md")).expect("docs/testing.md exists");
    // The first column of the tables of the first part.
    let (tables, _) = page.split_once("\n## Running a part").expect("the page has this part");
    let columns = tables.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let words = columns.flat_map(|(column, _)| column.split('`'));
    let mut named: Vec<&str> = words.filter(|word| word.ends_with(".rs") || word.ends_with('/')).collect();
    let folders = [
        "tests",
        "capi/tests",
        "oracle/tests",
        "testkit/tests",
        "ffi-tests/tests",
        "examples/demo/tests",
        "examples/attack/tests",
        "examples/embed/tests",
    ]
    .map(|at| root.join(at));
    let mut programs: Vec<String> = folders.iter().flat_map(|folder| programs(folder)).collect();
    named.sort_unstable();
    named.dedup();
    programs.sort_unstable();
    programs.dedup();
    assert_eq!(named, programs);
}

/// The packages name their tests, and what no package names does not run. What the library's package leaves out is a
/// target of the kit's, else `cargo package` warns.
#[test]
fn every_test_program_is_a_target_of_one_package() {
    let manifest = |path: &str| std::fs::read_to_string(root().join(path)).expect("the manifest is readable");
    let (library, kit) = (manifest("Cargo.toml"), manifest("testkit/Cargo.toml"));
    for program in programs(&root().join("tests")) {
        let name = program.trim_end_matches(".rs").trim_end_matches('/');
        let is_target = [&library, &kit].map(|text| text.contains(&format!("[[test]]\nname = \"{name}\"\n")));
        let is_left_out = library.contains(&format!("\"!/tests/{}\"", program.trim_end_matches('/')));
        assert_eq!(
            is_target,
            [!is_left_out, is_left_out],
            "name tests/{program} as a target in Cargo.toml; if it needs the kit or C, in testkit/Cargo.toml, and \
             leave it out of the package in Cargo.toml"
        );
    }
}
