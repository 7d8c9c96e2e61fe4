//! docs/porting.md prints the code that `examples/porting` has, lists what each step changes, and its commands work.
//!
//! `<!-- item: FILE NAME -->` promises that the code block below it is this function or type of the file, and
//! `<!-- diff: FILE FILE NAME -->` that it is what differs in it.
//! `DEMUXBUF_RENEW_PORTING=1 cargo test -p demuxbuf-embed --test porting` writes these blocks anew.
//! `<!-- step: FILE FILE -->` promises that the table below it lists each item that differs.

#![allow(clippy::disallowed_methods, reason = "the commands are for a shell")]

use demuxbuf_ffi_tests::{root, target, try_run};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

const PAGE: &str = "docs/porting.md";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Name of what a line at the left margin begins: a function, `struct NAME`, or an enumeration by its first constant.
fn name_of(lines: &[&str]) -> Option<String> {
    let line = lines.first()?;
    if let Some(name) = line.strip_prefix("struct ").and_then(|rest| rest.strip_suffix(" {")) {
        return Some(format!("struct {name}"));
    }
    if line.starts_with("enum ") {
        let first = line.split_once('{')?.1.trim();
        let first = if first.is_empty() { lines.get(1)?.trim() } else { first };
        return Some(first.split([' ', ',']).next()?.to_owned());
    }
    let is_function = line.ends_with('{') && line.contains('(') && !line.starts_with([' ', '/', '#', '}']);
    let name = line.split('(').next()?.rsplit([' ', '*']).next()?;
    is_function.then(|| name.to_owned())
}

/// The functions, structs and enumerations of a file in C that is formatted by clang-format, each with its comment.
fn items(source: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = BTreeMap::new();
    let mut at = 0;
    while at < lines.len() {
        // A declaration can be longer than a line.
        let head = if lines[at].contains('(') && lines[at].ends_with(',') { at + 1 } else { at };
        let joined = lines[at..=head].join(" ");
        let begin: Vec<&str> = [joined.as_str()].into_iter().chain(lines[head + 1..].iter().copied()).collect();
        let Some(name) = name_of(&begin) else {
            at += 1;
            continue;
        };
        let mut start = at;
        while start > 0 && !lines[start - 1].is_empty() && !lines[start - 1].starts_with(['#', '}']) {
            start -= 1;
        }
        let is_short = lines[at].contains("};");
        let end = if is_short {
            at
        } else {
            at + lines[at..].iter().position(|line| line.starts_with('}')).expect("its end")
        };
        found.insert(name, lines[start..=end].join("\n") + "\n");
        at = end + 1;
    }
    found
}

fn item(path: &str, name: &str) -> String {
    items(&read(path)).remove(name).unwrap_or_else(|| panic!("{path} has no {name}"))
}

/// The lines of both texts, those of the first alone after `-`, those of the second alone after `+`.
fn diff(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    // Length of the longest common part from these lines on.
    let mut common = vec![vec![0_u32; after.len() + 1]; before.len() + 1];
    for a in (0..before.len()).rev() {
        for b in (0..after.len()).rev() {
            common[a][b] =
                if before[a] == after[b] { common[a + 1][b + 1] + 1 } else { common[a + 1][b].max(common[a][b + 1]) };
        }
    }
    let (mut a, mut b, mut text) = (0, 0, String::new());
    while a < before.len() || b < after.len() {
        let (mark, line) = if a < before.len() && b < after.len() && before[a] == after[b] {
            (a, b) = (a + 1, b + 1);
            (' ', before[a - 1])
        } else if a < before.len() && (b == after.len() || common[a + 1][b] >= common[a][b + 1]) {
            a += 1;
            ('-', before[a - 1])
        } else {
            b += 1;
            ('+', after[b - 1])
        };
        text += format!("{mark}{line}").trim_end();
        text.push('\n');
    }
    text
}

/// What a marker promises: the language and the text of its block.
fn promised(marker: &str) -> (&'static str, String) {
    match marker.split(' ').collect::<Vec<_>>()[..] {
        ["item:", path, ref name @ ..] => ("c", item(path, &name.join(" "))),
        ["diff:", before, after, ref name @ ..] => {
            let name = name.join(" ");
            ("diff", diff(&item(before, &name), &item(after, &name)))
        }
        _ => panic!("{PAGE} has a marker that is unknown: {marker}"),
    }
}

/// The page with each block as its marker promises.
fn renewed(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("<!-- ") {
        let (marker, below) = after.split_once(" -->\n").expect("a marker ends its line");
        text += &format!("{before}<!-- {marker} -->\n");
        rest = below;
        if !marker.starts_with("step:") {
            let (language, block) = promised(marker);
            text += &format!("```{language}\n{block}```\n");
            let (_, old) = below.split_once("\n").expect("a block begins");
            rest = &old[old.find("```\n").expect("the block ends") + 4..];
        }
    }
    text + rest
}

/// The blocks of one language, each with the line before it.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<(&'a str, &'a str)> {
    let begin = format!("\n```{language}\n");
    let mut found = Vec::new();
    for (at, _) in page.match_indices(&begin) {
        let block = &page[at + begin.len()..];
        found.push((page[..at].lines().last().unwrap_or(""), &block[..block.find("```\n").expect("the block ends")]));
    }
    found
}

#[test]
fn page_prints_the_code_as_it_is() {
    let page = read(PAGE);
    let expected = renewed(&page);
    if std::env::var_os("DEMUXBUF_RENEW_PORTING").is_some() {
        fs::write(root().join(PAGE), expected).expect("the page is writable");
        return;
    }
    assert!(page == expected, "{PAGE} prints other code than the files have; see the top of this test");
    for language in ["c", "diff"] {
        let found = blocks(&page, language);
        assert!(found.len() > 3, "{} blocks of {language}", found.len());
        for (before, block) in found {
            assert!(before.starts_with("<!-- "), "no file promises this block:\n{block}");
        }
    }
}

/// The table below each marker of a step lists exactly the items that are new, changed and gone.
#[test]
fn page_lists_what_each_step_changes() {
    let page = read(PAGE);
    let parts: Vec<&str> = page.split("<!-- step: ").skip(1).collect();
    assert_eq!(parts.len(), 3);
    for part in parts {
        let (marker, below) = part.split_once(" -->\n").expect("a marker ends its line");
        let (before, after) = marker.split_once(' ').expect("two files");
        let (old, new) = (items(&read(before)), items(&read(after)));
        assert!(old.len() > 10 && new.len() > 10, "{before} or {after} was misread");
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let state = |name: &str| match (old.get(name), new.get(name)) {
            (Some(_), None) => Some("gone"),
            (None, Some(_)) => Some("new"),
            (old, new) => (old != new).then_some("changed"),
        };
        let expected: BTreeSet<_> = names.into_iter().filter_map(|name| Some((name.as_str(), state(name)?))).collect();
        let rows = below.lines().take_while(|line| line.starts_with('|')).skip(2);
        let mut listed = BTreeSet::new();
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let names = cells[0].split('`').skip(1).step_by(2);
            listed.extend(names.map(|name| (name, cells[1])));
        }
        assert_eq!(listed, expected, "the table of {before} and {after}");
    }
}

/// The first step has nothing of the library, and each step names itself at its top.
#[test]
fn steps_are_what_they_say() {
    assert!(!read("examples/porting/0-own-buffers.c").contains("demuxbuf"), "step 0 uses the library");
    assert!(!read("examples/porting/memory.h").contains("demuxbuf"), "the own memory uses the library");
    for (step, name) in ["own-buffers", "sync", "events", "receivers"].into_iter().enumerate() {
        let source = read(&format!("examples/porting/{step}-{name}.c"));
        assert!(source.starts_with(&format!("/* Step {step} of {PAGE}: ")), "step {step}");
    }
}

/// Each block of commands, in the order of the page, in a shell that stops at the first failure.
#[test]
fn commands_of_the_page_work() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port").port();
    let page = read(PAGE);
    let found = blocks(&page, "sh");
    assert!(found.len() >= 2, "the page has commands");
    for (_, block) in found {
        let folder = format!("{}/", target().display());
        // A server that is left after a failure would keep the output open.
        let commands = block.replace("target/", &folder).replace("7000", &port.to_string());
        let commands = format!("trap 'kill $! 2>/dev/null || true' EXIT\n{commands}");
        let printed = try_run(Command::new("sh").args(["-ec", &commands]).current_dir(root()));
        println!("{}", printed.unwrap_or_else(|error| panic!("{commands}\n{error}")));
    }
}
