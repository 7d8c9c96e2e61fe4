//! Replays every seed of the fuzzers, and the lines that they start from.

use demuxbuf_oracle::targets::TARGETS;
use std::fs;
use std::path::Path;

/// Every committed seed of every target passes.
#[test]
fn seeds_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for target in TARGETS {
        let folder = seeds.join(target.name);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("a folder can be listed").path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no seeds", target.name);
        for file in files {
            let text = fs::read(&file).expect("a seed can be read");
            if let Err(broken) = (target.run)(&text) {
                panic!("{}: {broken}", file.display());
            }
        }
    }
}

/// Each target accepts the lines that it starts from, and bytes that are no text.
#[test]
fn targets_run_their_examples_and_any_bytes() {
    for target in TARGETS {
        let examples = target.examples.join("\n");
        for text in [examples.as_bytes(), b"", b"\n \n#", &[0xff, 0xfe], b"attach\nrequest max max\n"] {
            if let Err(broken) = (target.run)(text) {
                panic!("{}: {:?}: {broken}", target.name, String::from_utf8_lossy(text));
            }
        }
    }
}
