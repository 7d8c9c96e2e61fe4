//! The table of README.md has each server with its lines, and none has more than 250.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const LINES_MAX: usize = 250;

/// Files with their lines, from the first two columns of the table.
fn table(readme: &str) -> BTreeMap<String, usize> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| [")?.split('|');
        let name = cells.next()?.split_once(']')?.0.to_owned();
        Some((name, cells.next()?.trim().parse().ok()?))
    };
    readme.lines().filter_map(row).collect()
}

#[test]
fn readme_has_the_lines_of_each_server() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(folder.join("README.md")).expect("the page");
    let mut servers = BTreeMap::new();
    for (below, ending) in [("c", "c"), ("src/bin", "rs")] {
        for entry in fs::read_dir(folder.join(below)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_load = path.file_stem().is_some_and(|name| name == "embed-load");
            if path.extension().is_some_and(|found| found == ending) && !is_load {
                let name = format!("{below}/{}", path.file_name().expect("a file").to_string_lossy());
                servers.insert(name, fs::read_to_string(&path).expect("text").lines().count());
            }
        }
    }
    assert_eq!(table(&readme), servers);
    assert!(servers.values().all(|lines| *lines <= LINES_MAX), "{servers:?}");
    for shared in [
        "c/server.h",
        "c/embed.h",
        "c/tls.h",
        "c/ring.h",
        "c/uring.h",
        "src/counting.rs",
        "src/server.rs",
        "src/tasks.rs",
        "src/peer.rs",
        "src/tls.rs",
    ] {
        let lines = fs::read_to_string(folder.join(shared)).expect("text").lines().count();
        assert!(lines <= LINES_MAX, "{shared} has {lines} lines");
        assert!(readme.contains(&format!("[{shared}]({shared}), {lines} lines")), "{shared} has {lines} lines");
    }
}
