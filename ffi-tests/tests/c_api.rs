//! The C API from C and C++: every program of `ffi-tests/c`, linked statically and against the shared library.
//! `ffi-tests/sanitize.sh` runs the same under valgrind and the sanitizers.

use demuxbuf_ffi_tests::{Linking, Program, library, root, run, run_checks, skip};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

fn sources(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("ffi-tests/c/{name}")).collect()
}

/// Builds a program of these sources and runs it; it must have checked something. Returns what it printed before. Where
/// the library's calls are distinguishable from all others, only those that make pools may allocate.
fn passes(names: &[&str], linking: Linking, arguments: &[&str]) -> String {
    let sources = sources(names);
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let stem = Path::new(names[0]).file_stem().expect("a source has a name").to_string_lossy();
    let name = format!("{stem}_{linking:?}").to_lowercase();
    let program = Program { linking, ..Program::new(&name, &sources) };
    let is_c = names[0].ends_with(".c");
    let program = if linking == Linking::Static && is_c { program.counted() } else { program };
    run_checks(&program.build(), arguments)
}

fn passes_linked_both_ways(names: &[&str]) {
    passes(names, Linking::Static, &[]);
    passes(names, Linking::Shared, &[]);
}

#[test]
fn statuses_and_versions() {
    passes_linked_both_ways(&["status.c"]);
}

#[test]
fn connection() {
    passes_linked_both_ways(&["connection.c"]);
}

#[test]
fn pool() {
    passes_linked_both_ways(&["pool.c"]);
}

#[test]
fn messages() {
    passes_linked_both_ways(&["messages.c"]);
}

#[test]
fn receivers() {
    passes_linked_both_ways(&["receiver.c"]);
}

#[test]
fn completion() {
    passes_linked_both_ways(&["completion.c"]);
}

#[test]
fn delivery() {
    passes_linked_both_ways(&["delivery.c"]);
}

#[test]
fn counting() {
    passes_linked_both_ways(&["counting.c"]);
}

#[test]
fn layers_that_read_ahead() {
    passes_linked_both_ways(&["reads_ahead.c"]);
}

#[test]
fn s73_validity_of_data() {
    passes_linked_both_ways(&["validity.c"]);
}

#[test]
fn audit() {
    passes_linked_both_ways(&["audit.c"]);
}

#[test]
fn overload() {
    passes_linked_both_ways(&["overload.c"]);
}

#[test]
fn attach() {
    passes_linked_both_ways(&["attach.c"]);
}

#[test]
fn memory() {
    passes_linked_both_ways(&["memory.c"]);
}

#[test]
fn lease_deadlines() {
    passes_linked_both_ways(&["lease_deadlines.c"]);
}

#[test]
fn leased_content() {
    passes_linked_both_ways(&["leased_content.c"]);
}

#[test]
fn handles() {
    passes_linked_both_ways(&["handles.c"]);
}

/// What docs/porting.md prints of `examples/porting/recipes.h`.
#[test]
fn porting_recipes() {
    passes_linked_both_ways(&["porting.c"]);
}

/// With each size of pages that Linux has on common machines. Only where the C library is glibc, and not under a tool
/// that has an allocator of its own, can a program stand in for these.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
fn pages() {
    if std::env::var_os("RUNNER").is_some() || std::env::var_os("CFLAGS").is_some() {
        return skip("pages of other sizes: a tool has the allocator");
    }
    let program = Program::new("pages_static", &["ffi-tests/c/pages.c"]).build();
    for page_bytes in ["4096", "16384", "65536"] {
        run_checks(&program, &[page_bytes]);
    }
}

#[test]
fn shared_pool() {
    passes_linked_both_ways(&["shared_pool.c"]);
}

#[test]
fn shared_moves() {
    passes_linked_both_ways(&["shared_moves.c"]);
}

#[test]
fn lifetimes() {
    passes(&["lifetimes.c"], Linking::Static, &[]);
}

#[test]
fn threads() {
    let printed = passes(&["threads.c"], Linking::Static, &[]);
    println!("threads: {printed}");
}

#[test]
fn h2_frames() {
    passes_linked_both_ways(&["h2.c"]);
}

#[test]
fn fcgi_records() {
    passes_linked_both_ways(&["fcgi.c"]);
}

/// A program that was built with the header of the first version runs with the library of today. The header in
/// `ffi-tests/abi` is a copy, which stays as it is once that version is released.
#[test]
fn abi_of_the_first_version_works() {
    passes_linked_both_ways(&["../abi/old.c"]);
}

/// A program that was built with a newer header runs with the library of today, or is refused by name.
#[test]
fn abi_newer_than_the_library_works_or_is_refused() {
    passes_linked_both_ways(&["../abi/newer.c"]);
}

#[test]
fn cxx_two_translation_units() {
    passes_linked_both_ways(&["cxx.cc", "cxx_other.cc"]);
}

#[test]
fn no_call_allocates() {
    passes(&["allocations.c"], Linking::Static, &[]);
}

#[test]
fn allocations_fail_in_turn() {
    // Valgrind and the sanitizers need more address space than they can be limited to.
    let is_bare = std::env::var_os("RUNNER").is_none() && std::env::var_os("CFLAGS").is_none();
    passes(&["faults.c"], Linking::Static, if is_bare { &["limits"] } else { &[] });
}

/// The errors that the header documents for each function, by function.
fn documented_errors() -> BTreeMap<String, BTreeSet<String>> {
    let header = std::fs::read_to_string(root().join("include/demuxbuf.h")).expect("the header is readable");
    let mut documented = BTreeMap::new();
    let mut errors = BTreeSet::new();
    for line in header.lines() {
        if line.starts_with("//") {
            errors
                .extend(identifiers(line).map(|(_, word)| word.to_owned()).filter(|w| w.starts_with("DEMUXBUF_ERR_")));
        } else if let Some((_, name)) = identifiers(line).find(|&(end, _)| line[end..].starts_with('(')) {
            documented.insert(name.to_owned(), std::mem::take(&mut errors));
        } else {
            errors.clear();
        }
    }
    documented
}

#[test]
fn events_return_only_documented_errors() {
    let header = std::fs::read_to_string(root().join("include/demuxbuf.h")).expect("the header is readable");
    let name_of = |number: &str| {
        let defined = header.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
        let value_of = |text: &str| -> Option<i64> {
            text.trim_matches(['(', ')']).split(" * ").map(|factor| factor.parse::<i64>().ok()).product()
        };
        let number: Option<i64> = number.parse().ok();
        let mut named = defined.filter(|(_, value)| number.is_some() && value_of(value) == number);
        named.next().unwrap_or_else(|| panic!("{number:?} has no name")).0.to_owned()
    };
    let mut seen = BTreeMap::<&str, BTreeSet<String>>::new();
    let printed = passes(&["returns.c"], Linking::Static, &[]);
    for line in printed.lines() {
        let (function, number) = line.split_once(' ').expect("a function and a number");
        seen.entry(function).or_default().insert(name_of(number));
    }
    let documented = documented_errors();
    assert!(seen.len() > 35, "hardly any function was called: {seen:?}");
    for (function, seen) in seen {
        let mut expected = documented[function].clone();
        // The walks pass no NULL, and nothing they do can poison a pool. Theirs is a pool of one thread.
        for of_threads in ["DEMUXBUF_ERR_WRONG_THREAD", "DEMUXBUF_ERR_POOL_CLOSED"] {
            expected.remove(of_threads);
        }
        expected.remove("DEMUXBUF_ERR_NULL");
        if function.starts_with("demuxbuf_receiver_") {
            expected.remove("DEMUXBUF_ERR_POISONED");
        }
        assert_eq!(seen, expected, "errors of {function}, seen and documented");
    }
}

/// C source without comments and string literals.
fn code(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(at) = rest.find(['/', '"']) {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = if rest.starts_with("//") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or("", |end| &rest[end + 2..])
        } else if let Some(text) = rest.strip_prefix('"') {
            let end = text.char_indices().find(|&(end, c)| c == '"' && !text[..end].ends_with('\\'));
            end.map_or("", |(end, _)| &text[end + 1..])
        } else {
            code.push('/');
            &rest[1..]
        };
    }
    code + rest
}

fn identifiers(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    code.split(move |c| !is_part(c)).filter(|word| !word.is_empty()).map(move |word| {
        let end = word.as_ptr() as usize + word.len() - code.as_ptr() as usize;
        (end, word)
    })
}

/// The functions of the header: those of the library, and those that are inline.
fn functions() -> (BTreeSet<String>, BTreeSet<String>) {
    let header = code(&std::fs::read_to_string(root().join("include/demuxbuf.h")).expect("the header is readable"));
    let mut exported = BTreeSet::new();
    let mut inline = BTreeSet::new();
    for (end, name) in identifiers(&header) {
        if name.starts_with("demuxbuf_") && header[end..].starts_with('(') {
            // An indented line is inside of an inline function, which may call another one.
            match header[..end].lines().last().unwrap_or_default() {
                line if line.starts_with("static inline") => inline.insert(name.to_owned()),
                line => !line.starts_with(' ') && exported.insert(name.to_owned()),
            };
        }
    }
    (exported, inline)
}

#[test]
fn exported_functions_are_called_from_c() {
    let mut used = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("ffi-tests/c")).expect("ffi-tests/c is readable") {
        let path = entry.expect("ffi-tests/c is readable").path();
        if path.is_file() {
            let source = code(&std::fs::read_to_string(&path).expect("a source is text"));
            used.extend(identifiers(&source).map(|(_, word)| word.to_owned()));
        }
    }
    let (exported, inline) = functions();
    assert!(exported.len() > 60 && inline.len() >= 3, "the header was misread: {exported:?} {inline:?}");
    let missing: Vec<&String> = exported.union(&inline).filter(|&name| !used.contains(name)).collect();
    assert!(missing.is_empty(), "no program in ffi-tests/c calls {missing:?}");
}

#[test]
fn library_exports_what_the_header_declares() {
    if Command::new("nm").arg("--version").output().is_err() {
        skip("the list of exported symbols: there is no nm");
        return;
    }
    let listed = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library().join("libdemuxbuf.so")));
    // Symbols of the linker and of the language run-time, if a platform's linker exports any, are not the library's
    // own.
    let exported: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| !matches!(*name, "_init" | "_fini" | "_edata" | "_end" | "__bss_start" | "rust_eh_personality"))
        .map(str::to_owned)
        .collect();
    let (declared, _) = functions();
    let undeclared: Vec<&String> = exported.difference(&declared).collect();
    let undefined: Vec<&String> = declared.difference(&exported).collect();
    assert!(undeclared.is_empty(), "exported and not declared: {undeclared:?}");
    assert!(undefined.is_empty(), "declared and not exported: {undefined:?}");
}
