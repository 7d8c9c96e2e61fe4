//! `include/demuxbuf.h` is what cbindgen makes of `capi/src` today, section by section.

use std::collections::BTreeMap;
use std::path::Path;

const RENEW: &str = "DEMUXBUF_RENEW_HEADER=1 cargo test --test header";

/// The sections of the header in the order in which a reader needs them: the files of each, and what holds for all of
/// its functions.
const SECTIONS: [(&str, &[&str], &str); 8] = [
    (
        "Start",
        &["status", "strerror", "version", "actions", "policy", "config", "nested", "guard"],
        "Statuses, actions, and how a pool is configured. The functions here work on no object: any thread may call\n\
         them at any time.",
    ),
    (
        "Receivers",
        &["step", "event", "info", "attach", "receiver", "deliver", "notice"],
        "A receiver is one connection bound to a pool. Each call reports what happened and returns what to do next.\n\
         Thread rule: one thread at a time per pool. Cost: O(1), no allocation, no system call.",
    ),
    (
        "The pool",
        &["pool", "audit", "stats", "tenant"],
        "Its life, its clock, its counts and its tenants.\n\
         Thread rule, where a function has none of its own: one thread at a time per pool.",
    ),
    (
        "Requests",
        &["request"],
        "Buffers of the host's own out of the same pool.\n\
         Thread rule: one thread at a time per pool. Cost: O(1), no allocation, no system call.",
    ),
    (
        "Threads",
        &["shared_pool"],
        "One pool of buffers for several threads, each of which has a pool object of its own. Receivers can move.\n\
         Each function has a thread rule of its own.",
    ),
    (
        "The state machine",
        &["connection"],
        "The receive logic of one connection without a pool, for hosts that have their own buffers.\n\
         Thread rule: one thread at a time per connection. Cost: O(1), no allocation, no system call.",
    ),
    (
        "HTTP/2 framing",
        &["h2"],
        "Where frames begin and end; nothing of their meaning.\n\
         Thread rule: one thread at a time per decoder. Cost: O(1), no allocation, no system call.",
    ),
    (
        "FastCGI framing",
        &["fcgi"],
        "Where records begin and end, and how each is taken; nothing of their meaning. Sections are those of the\n\
         FastCGI specification 1.0.\n\
         Thread rule: one thread at a time per decoder. Cost: O(1), no allocation, no system call.",
    ),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml is readable");
    let mut text = String::new();
    let last = SECTIONS.len() - 1;
    for (at, (title, files, rules)) in SECTIONS.iter().enumerate() {
        let mut config = config.clone();
        // The first section has the head of the file, the last one its end.
        if at > 0 {
            config.header = None;
            config.sys_includes.clear();
        }
        if at < last {
            config.trailer = None;
        }
        config.after_includes = Some(section_comment(title, rules));
        // Also the types that only functions of later sections use.
        config.export.include = files.iter().flat_map(|file| structs_of(file)).collect();
        // File by file: `lib.rs` would have cbindgen look into all of them at once, in an order of its own.
        let builder = files.iter().fold(cbindgen::Builder::new(), |builder, file| {
            builder.with_src(root().join(format!("capi/src/{file}.rs")))
        });
        let bindings = builder.with_config(config).generate().expect("capi/src parses");
        let mut section = Vec::new();
        bindings.write(&mut section);
        text += &String::from_utf8(section).expect("cbindgen writes UTF-8");
    }
    text.lines().map(|line| safe_number(line) + "\n").collect()
}

fn structs_of(file: &str) -> Vec<String> {
    let path = root().join(format!("capi/src/{file}.rs"));
    let text = std::fs::read_to_string(path).expect("a source is text");
    let names = text.lines().filter_map(|line| line.strip_prefix("pub struct ")?.strip_suffix(" {"));
    names.map(str::to_owned).collect()
}

fn section_comment(title: &str, rules: &str) -> String {
    format!("\n/* ==== {title} ====\n *\n * {}\n */", rules.replace('\n', "\n * "))
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
fn committed_header_is_up_to_date() {
    let path = root().join("include/demuxbuf.h");
    let fresh = generate();
    if std::env::var_os("DEMUXBUF_RENEW_HEADER").is_some() {
        std::fs::write(&path, &fresh).expect("include/ is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "include/demuxbuf.h is out of date; renew it with: {RENEW}");
}

/// A file that no section has would be missing from the header.
#[test]
fn every_file_with_exports_is_in_a_section() {
    for entry in std::fs::read_dir(root().join("capi/src")).expect("capi/src is readable") {
        let path = entry.expect("capi/src is readable").path();
        let text = std::fs::read_to_string(&path).expect("a source is text");
        let exports = text.contains("\npub extern \"C\" fn demuxbuf_")
            || text.contains("\npub unsafe extern \"C\" fn demuxbuf_")
            || text.contains("\npub const DEMUXBUF_")
            || text.contains("\npub struct demuxbuf_");
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a source has a name");
        let sections = SECTIONS.iter().filter(|(_, files, _)| files.contains(&name)).count();
        assert_eq!(sections, usize::from(exports), "sections that have {name}.rs");
    }
}

#[test]
fn every_function_documents_its_threads_and_its_null() {
    let header = generate();
    let lines: Vec<&str> = header.lines().collect();
    let mut functions = 0;
    let mut section = String::new();
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("/* ==== ") {
            section = lines[at..].iter().take_while(|line| **line != " */").copied().collect();
        }
        let is_code = line.starts_with(|c: char| c.is_ascii_lowercase()) && !line.starts_with("static inline");
        if !is_code || !line.contains("demuxbuf_") || !line.contains('(') {
            continue;
        }
        functions += 1;
        let first = lines[..at].iter().rposition(|line| !line.starts_with("//")).map_or(0, |before| before + 1);
        let documentation = lines[first..at].join("\n");
        let has_rule = documentation.contains("Thread rule: ") || section.contains("Thread rule");
        assert!(has_rule, "no thread rule above: {line}");
        assert!(documentation.contains("NULL") || !line.contains('*'), "nothing about NULL above: {line}");
    }
    assert!(functions > 60, "only {functions} functions were found: the test looks at the wrong lines");
}

/// The fields of each struct, as they are declared.
fn fields_of(header: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut structs = BTreeMap::new();
    let mut fields = Vec::new();
    for line in header.lines() {
        if line == "typedef struct {" {
            fields.clear();
        } else if let Some(name) = line.strip_prefix("} demuxbuf_").and_then(|rest| rest.strip_suffix(';')) {
            structs.insert(name, std::mem::take(&mut fields));
        } else if line.starts_with("  ") && line.ends_with(';') && !line.contains("//") {
            fields.push(line.trim());
        }
    }
    structs
}

/// A field in the middle, another type or another order would be read wrongly by a program that was built with the
/// header of the first version.
#[test]
fn structs_grow_at_their_end_alone() {
    let first = std::fs::read_to_string(root().join("ffi-tests/abi/demuxbuf-0.1.h")).expect("the header is readable");
    let fresh = generate();
    let (before, now) = (fields_of(&first), fields_of(&fresh));
    assert!(before.len() > 12, "the header was misread: {before:?}");
    for (name, fields) in before {
        let now = now.get(name).unwrap_or_else(|| panic!("demuxbuf_{name} is missing"));
        assert!(!fields.is_empty() && now.starts_with(&fields), "demuxbuf_{name} was {fields:?} and is {now:?}");
        if fields[0] != "uint32_t struct_size;" {
            assert_eq!(now.len(), fields.len(), "demuxbuf_{name} cannot grow");
        }
    }
}

/// Each struct that can grow is in the program of the first version's header, and in that of a newer one.
#[test]
fn structs_that_grow_are_in_both_abi_programs() {
    let programs = ["old", "newer"].map(|name| {
        let path = root().join(format!("ffi-tests/abi/{name}.c"));
        (name, std::fs::read_to_string(path).expect("the program is readable"))
    });
    let header = generate();
    let growing = fields_of(&header).into_iter().filter(|(_, fields)| fields[0] == "uint32_t struct_size;");
    let names: Vec<&str> = growing.map(|(name, _)| name).collect();
    assert!(names.len() > 10, "the header was misread: {names:?}");
    for name in names {
        for (program, text) in &programs {
            let is_word = |end: usize| !text[end..].starts_with(|c: char| c == '_' || c.is_ascii_alphanumeric());
            let name = format!("demuxbuf_{name}");
            let is_used = text.match_indices(&name).any(|(at, _)| is_word(at + name.len()));
            assert!(is_used, "ffi-tests/abi/{program}.c does not use {name}");
        }
    }
}

/// `out.rs` copies structs that can grow as bytes: they have no padding.
#[test]
fn structs_that_grow_have_no_padding() {
    let header = generate();
    let structs = fields_of(&header);
    let mut checked = 0;
    for (name, fields) in structs.iter().filter(|(_, fields)| fields[0] == "uint32_t struct_size;") {
        let (mut offset, mut align_of_all) = (0, 1);
        for field in fields {
            let (bytes, align) = size_and_alignment(field, &header, &structs);
            assert_eq!(offset % align, 0, "there is padding before `{field}` of demuxbuf_{name}");
            (offset, align_of_all) = (offset + bytes, align_of_all.max(align));
        }
        assert_eq!(offset % align_of_all, 0, "there is padding at the end of demuxbuf_{name}");
        checked += 1;
    }
    assert!(checked > 10, "the header was misread");
}

/// Of a field as it is declared, with 64-bit pointers, in bytes.
fn size_and_alignment(field: &str, header: &str, structs: &BTreeMap<&str, Vec<&str>>) -> (usize, usize) {
    let (kind, name) = field.trim_end_matches(';').rsplit_once(' ').expect("a field has a type and a name");
    let count = name.split_once('[').map_or(1, |(_, count)| {
        let count = count.trim_end_matches(']');
        let define = format!("#define {count} ");
        let number = header.lines().find_map(|line| line.strip_prefix(&define)).unwrap_or(count);
        number.parse().unwrap_or_else(|_| panic!("the length of `{field}` is no number"))
    });
    let (bytes, align) = match kind {
        _ if name.starts_with('*') => (8, 8),
        "uint64_t" | "size_t" => (8, 8),
        "uint32_t" | "int32_t" => (4, 4),
        "uint16_t" => (2, 2),
        "uint8_t" => (1, 1),
        inner => {
            let name = inner.strip_prefix("demuxbuf_").unwrap_or_else(|| panic!("unknown type of `{field}`"));
            let parts = structs[name].iter().map(|field| size_and_alignment(field, header, structs));
            parts.fold((0, 1), |(bytes, most), (more, align)| (bytes + more, most.max(align)))
        }
    };
    (bytes * count, align)
}

/// Numbers are never reused.
#[test]
fn numbers_of_the_first_version_stay() {
    let first = std::fs::read_to_string(root().join("ffi-tests/abi/demuxbuf-0.1.h")).expect("the header is readable");
    let fresh = generate();
    let numbers: Vec<&str> = first.lines().filter(|line| line.starts_with("#define DEMUXBUF_")).collect();
    assert!(numbers.len() > 60, "the header was misread: {numbers:?}");
    for number in numbers {
        let is_version = number.starts_with("#define DEMUXBUF_VERSION");
        assert!(is_version || fresh.lines().any(|line| line == number), "it is gone or another: {number}");
    }
}
