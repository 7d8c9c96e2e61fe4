//! `include/demuxbuf.h` is what cbindgen makes of `capi/src` today.

use std::path::{Path, PathBuf};

const RENEW: &str = "DEMUXBUF_RENEW_HEADER=1 cargo test --test header";

fn generate(root: &Path) -> String {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is readable");
    // File by file: `lib.rs` would have cbindgen look into all of them at once, in an order of its own.
    let mut files: Vec<PathBuf> = std::fs::read_dir(root.join("capi/src"))
        .expect("capi/src is readable")
        .map(|entry| entry.expect("capi/src is readable").path())
        .filter(|path| !path.ends_with("lib.rs"))
        .collect();
    files.sort();
    let builder = files.into_iter().fold(cbindgen::Builder::new(), |builder, file| builder.with_src(file));
    let bindings = builder.with_config(config).generate().expect("capi/src parses");
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).expect("cbindgen writes UTF-8");
    text.lines().map(|line| safe_number(line) + "\n").collect()
}

/// A number below 0 stands in parentheses, so that `-NAME` is no `--`; one above `INT32_MAX` is unsigned, so that masks
/// stay 32 bits wide.
fn safe_number(line: &str) -> String {
    let defined = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' '));
    match defined.map(|(name, value)| (name, value.parse::<i64>())) {
        Some((name, Ok(value))) if value < 0 => format!("#define {name} ({value})"),
        Some((name, Ok(value))) if value > i32::MAX.into() => format!("#define {name} {value}u"),
        _ => line.into(),
    }
}

#[test]
fn the_committed_header_is_up_to_date() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let path = root.join("include/demuxbuf.h");
    let fresh = generate(root);
    if std::env::var_os("DEMUXBUF_RENEW_HEADER").is_some() {
        std::fs::write(&path, &fresh).expect("include/ is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "include/demuxbuf.h is out of date; renew it with: {RENEW}");
}

#[test]
fn every_function_documents_its_threads_and_its_null() {
    let header = generate(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
    let lines: Vec<&str> = header.lines().collect();
    let mut functions = 0;
    for (at, line) in lines.iter().enumerate() {
        let is_code = line.starts_with(|c: char| c.is_ascii_lowercase()) && !line.starts_with("static inline");
        if !is_code || !line.contains("demuxbuf_") || !line.contains('(') {
            continue;
        }
        functions += 1;
        let first = lines[..at].iter().rposition(|line| !line.starts_with("//")).map_or(0, |before| before + 1);
        let documentation = lines[first..at].join("\n");
        assert!(documentation.contains("Thread rule: "), "no thread rule above: {line}");
        assert!(documentation.contains("NULL") || !line.contains('*'), "nothing about NULL above: {line}");
    }
    assert!(functions > 60, "only {functions} functions were found: the test looks at the wrong lines");
}
