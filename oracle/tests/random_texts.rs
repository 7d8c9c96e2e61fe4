//! Random texts for the targets `ops`, `receiving`, `shared_scheduler`, `shared_ops` and `shared_pools`: calls of every
//! kind in any order, most of them those that were asked for.

use demuxbuf_oracle::targets::{TARGETS, Target};
use fastrand::Rng;
use std::panic::catch_unwind;

/// Some seconds. The faults that were found so are seeds of the target; not all of them show again in this number of
/// texts.
const TEXTS: u64 = 2_500;

/// Numbers at which things change.
const NUMBERS: [&str; 12] = ["0", "1", "2", "3", "60", "64", "65", "100", "200", "256", "1000", "max"];

fn draw(random: &mut Rng, examples: &[&str]) -> Vec<String> {
    let lines = random.usize(5..300);
    let obedience = random.u8(0..16);
    let line = |random: &mut Rng| {
        if random.u8(0..16) < obedience {
            let (receiver, choice) = (random.u8(0..12), random.u8(0..8));
            return format!("obey {receiver} {choice} {}", random.u16(0..400));
        }
        let mut words: Vec<String> = examples[random.usize(..examples.len())].split(' ').map(String::from).collect();
        for word in &mut words[1..] {
            match random.u8(0..6) {
                0 => *word = NUMBERS[random.usize(..NUMBERS.len())].into(),
                1 | 2 => *word = random.u8(0..12).to_string(),
                3 => *word = random.u8(..).to_string(),
                _ => {}
            }
        }
        words.join(" ")
    };
    let mut text = Vec::new();
    if random.bool() {
        // Many receivers, little memory, and partial frames.
        text.extend((0..8).map(|_| "attach 0\n".into()));
        text.extend((0..random.u8(0..6)).map(|_| "request 0\n".into()));
        text.push("receivers 12\n".into());
        let partial = |at| [format!("readable {at}\n"), format!("obey {at} 1 70\n"), format!("obey {at} 2 {at}0\n")];
        text.extend((0..random.u8(0..10)).flat_map(partial));
    }
    text.extend((0..lines).map(|_| line(random) + "\n"));
    text
}

/// What is broken by a text; a panic is broken, too.
fn broken(target: &Target, text: &[String]) -> Option<String> {
    let text = text.concat();
    catch_unwind(|| (target.run)(text.as_bytes())).unwrap_or_else(|_| Err("it panics".into())).err()
}

/// Leaves out what is not needed to break something.
fn shorten(target: &Target, mut text: Vec<String>) -> Vec<String> {
    let mut lines = text.len();
    while lines > 0 {
        for at in (0..text.len()).step_by(lines).rev() {
            let shorter = [&text[..at], &text[text.len().min(at + lines)..]].concat();
            if broken(target, &shorter).is_some() {
                text = shorter;
            }
        }
        lines /= 2;
    }
    text
}

fn bears_any_calls(name: &str, texts: u64) {
    let target = TARGETS.into_iter().find(|target| target.name == name).expect("there is such a target");
    for seed in 0..texts {
        let text = draw(&mut Rng::with_seed(seed), target.examples);
        if broken(&target, &text).is_some() {
            let text = shorten(&target, text);
            let why = broken(&target, &text).expect("it was broken");
            panic!("seed {seed}: {why}\n{}", text.concat());
        }
    }
}

#[test]
fn whole_pool_bears_any_calls_in_any_order() {
    bears_any_calls("ops", TEXTS);
}

#[test]
fn receivers_bear_any_calls_in_any_order() {
    bears_any_calls("receiving", TEXTS);
}

#[test]
fn shards_bear_any_calls_in_any_order() {
    bears_any_calls("shared_scheduler", TEXTS);
}

#[test]
fn pools_of_threads_bear_any_calls_in_any_order() {
    // All threads are compared after each call, in Rust and through C.
    bears_any_calls("shared_ops", TEXTS / 3);
}

#[test]
fn shared_pools_bear_any_calls_in_any_order() {
    // Each call is checked on every thread.
    bears_any_calls("shared_pools", TEXTS / 4);
}
