//! Counts how large the library's surface is: `surface` in the top of a source tree. `scripts/surface.sh` has what is
//! counted how.

mod count;
mod graph;
mod lines;
mod source;

use count::{Body, Counts};
use lines::Lines;
use source::Crate;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn main() {
    let crates: Vec<Crate> = roots().iter().map(|(name, root)| Crate::read(name, root)).collect();
    let mut counts = Counts::default();
    crates.iter().for_each(|of| counts.add(of));
    print_items(&counts);
    let files = print_lines();
    print_functions(&counts);
    print_files(&files, &crates);
}

/// The library, and what its C interface is in.
fn roots() -> Vec<(String, PathBuf)> {
    let packages = [("demuxbuf", "src/lib.rs"), ("capi", "capi/src/lib.rs"), ("capi-lib", "capi/lib/src/lib.rs")];
    let known = packages.iter().map(|(name, root)| (name.to_string(), PathBuf::from(root)));
    known.chain([("capi-lib".into(), PathBuf::from("capi/lib/lib.rs"))]).filter(|(_, root)| root.exists()).collect()
}

fn row(name: &str, value: impl std::fmt::Display) {
    println!("{name:<48} {value:>7}");
}

fn print_items(counts: &Counts) {
    let Counts { public_modules, public_types, public_functions, public_methods, public_constants, .. } = counts;
    let all = public_modules + public_types + public_functions + public_methods + public_constants;
    row("public Rust items", all);
    row("  modules", public_modules);
    row("  types and traits", public_types);
    row("  functions", public_functions);
    row("  methods", public_methods);
    row("  constants", public_constants);
    row("exported C functions", counts.exported.len());
    row("  declared in include/demuxbuf.h", declared());
    let print = |what: &str, structs: &BTreeMap<String, usize>| {
        for (language, is_c) in [("Rust", false), ("C", true)] {
            let of: Vec<_> = structs.iter().filter(|(name, _)| name.starts_with("demuxbuf_") == is_c).collect();
            row(&format!("fields of {what}, {language}"), of.iter().map(|(_, fields)| **fields).sum::<usize>());
            of.iter().for_each(|(name, fields)| row(&format!("  {name}"), fields));
        }
    };
    print("configurations", &counts.configurations);
    print("statistics", &counts.statistics);
    row("unsafe blocks", counts.unsafe_blocks);
    row("unsafe functions, not exported", counts.unsafe_functions);
    row("unsafe impls", counts.unsafe_impls);
}

/// Functions that the header declares: lines that name one and its first parameter.
fn declared() -> usize {
    let header = std::fs::read_to_string("include/demuxbuf.h").unwrap_or_default();
    let is_declaration = |line: &&str| {
        let Some((before, _)) = line.split_once('(') else { return false };
        let name = before.split([' ', '*']).next_back().unwrap_or("");
        name.starts_with("demuxbuf_") && !line.starts_with([' ', '/', '#', '\t']) && !before.starts_with("static")
    };
    header.lines().filter(is_declaration).count()
}

/// Returns the files of the library, and how many lines of code and comments each has outside of unit tests.
fn print_lines() -> Vec<(PathBuf, usize)> {
    let mut files = Vec::new();
    let mut unit_tests = Lines::default();
    let print = |name: &str, lines: Lines| {
        row(&format!("lines of {name}"), lines.all());
        row("  code", lines.code);
        row("  comments", lines.comments);
    };
    for folder in ["src", "capi"] {
        let mut all = Lines::default();
        for file in lines::sources(Path::new(folder)) {
            let text = std::fs::read_to_string(&file).expect("a source is text");
            let (outside, tests) = lines::count(&text);
            let is_test = file.file_stem().is_some_and(|name| name == "tests");
            let (outside, tests) = if is_test { (Lines::default(), outside) } else { (outside, tests) };
            files.push((file, outside.all()));
            all += outside;
            unit_tests += tests;
        }
        if all.all() > 0 {
            print(folder, all);
        }
    }
    print("unit tests inside of them", unit_tests);
    for folder in ["tests", "oracle", "ffi-tests", "fuzz", "testkit", "benches", "examples"] {
        let mut all = Lines::default();
        for file in lines::sources(Path::new(folder)) {
            let (outside, tests) = lines::count(&std::fs::read_to_string(&file).expect("a source is text"));
            all += outside;
            all += tests;
        }
        if all.all() > 0 {
            print(folder, all);
        }
    }
    files
}

fn print_functions(counts: &Counts) {
    let of = |body: Body| counts.functions.iter().filter(|function| function.body == body).count();
    row("functions", counts.functions.len());
    row("  that only forward", of(Body::Forwards));
    row("  of one call with other arguments", of(Body::OneCall));
    row("  of one macro", of(Body::OneMacro));
    let mut longest: Vec<_> = counts.functions.iter().collect();
    longest.sort_by_key(|function| std::cmp::Reverse(function.lines));
    row("longest function, lines", longest.first().map_or(0, |function| function.lines));
    longest.iter().take(3).for_each(|function| row(&format!("  {}", function.place), function.lines));
}

fn print_files(files: &[(PathBuf, usize)], crates: &[Crate]) {
    let mut longest: Vec<_> = files.iter().collect();
    longest.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    row("longest file, lines", longest.first().map_or(0, |(_, lines)| *lines));
    longest.iter().take(3).for_each(|(file, lines)| row(&format!("  {}", file.display()), lines));
    let circles: Vec<Vec<String>> = crates.iter().flat_map(graph::circles).collect();
    row("circles between files", circles.len());
    for circle in circles {
        println!("  {}", circle.join(" "));
    }
}
