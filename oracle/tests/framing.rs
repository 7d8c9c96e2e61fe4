//! Random frames and records in random pieces, against the references that the fuzzers have.

mod common;

use common::cases;
use demuxbuf_oracle::targets::{TARGETS, Target};
use proptest::prelude::*;
use std::fmt::Write;

fn target(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).expect("there is a target of this name")
}

/// Numbers around which something changes.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0..12_u32,
        2 => 0..256_u32,
        1 => prop::sample::select(vec![263, 264, 271, 272, 16_384, 16_385, 16_440, 16_448, 20_000, 65_535, 65_798]),
    ]
}

/// Lines of the kinds that a target knows, most with other numbers, and random bytes.
fn text(of: Target) -> impl Strategy<Value = String> {
    let example = (prop::sample::select(of.examples), prop::collection::vec(prop::option::weighted(0.25, number()), 5));
    let example = example.prop_map(|(example, changes)| {
        let mut words = example.split(' ');
        let mut line = words.next().expect("a line has a word").to_owned();
        for (word, change) in words.zip(changes) {
            let _ = match change {
                Some(number) => write!(line, " {number}"),
                None => write!(line, " {word}"),
            };
        }
        line
    });
    let raw = prop::collection::vec(number(), 1..24)
        .prop_map(|bytes| bytes.iter().fold("raw".to_owned(), |line, byte| format!("{line} {byte}")));
    let lines = prop::collection::vec(prop_oneof![12 => example, 1 => raw], 1..16);
    lines.prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(cases(2_000, 50_000))]

    #[test]
    fn h2_frames_match_the_reference(text in text(target("h2_frames")), starts in any::<bool>()) {
        // Without the beginning of a connection there is seldom a second frame.
        let text = if starts { format!("preface\nsettings\n{text}") } else { text };
        (target("h2_frames").run)(text.as_bytes()).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn fcgi_records_match_the_reference(text in text(target("fcgi_records"))) {
        (target("fcgi_records").run)(text.as_bytes()).map_err(TestCaseError::fail)?;
    }
}
