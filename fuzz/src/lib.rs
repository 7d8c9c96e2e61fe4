//! The parts that all fuzzers share: the run, and changes that keep the lines of a text whole.

use demuxbuf_oracle::targets::{TARGETS, Target};
use fastrand::Rng;
use libfuzzer_sys::fuzzer_mutate;

/// Numbers at which things change.
const NUMBERS: &[&str] =
    &["0", "1", "2", "3", "5", "8", "9", "63", "64", "65", "100", "128", "200", "255", "16384", "max"];

/// Runs a text; a broken rule is a crash.
pub fn run(name: &str, text: &[u8]) {
    if let Err(broken) = (find(name).run)(text) {
        panic!("{name}: {broken}");
    }
}

fn find(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).expect("every fuzzer has a target")
}

/// Changes a text, mostly by whole lines: random bytes seldom make a line that means something.
pub fn mutate(name: &str, data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Rng::with_seed(seed.into());
    if random.u8(..8) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let text = String::from_utf8_lossy(&data[..size]).into_owned();
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    for _ in 0..random.usize(1..5) {
        change(find(name), &mut lines, &mut random);
    }
    let text = lines.join("\n") + "\n";
    let bytes = &text.as_bytes()[..text.len().min(max_size)];
    data[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

fn change(target: Target, lines: &mut Vec<String>, random: &mut Rng) {
    let at = random.usize(..=lines.len());
    if at == lines.len() || random.u8(..3) == 0 {
        let mut line = target.examples[random.usize(..target.examples.len())].to_string();
        renumber(&mut line, random);
        return lines.insert(at, line);
    }
    match random.u8(..4) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[random.usize(..lines.len())].clone()),
        2 => {
            let other = random.usize(..lines.len());
            lines.swap(at, other);
        }
        _ => renumber(&mut lines[at], random),
    }
}

/// Changes one of the numbers of a line.
fn renumber(line: &mut String, random: &mut Rng) {
    let mut words: Vec<String> = line.split(' ').map(String::from).collect();
    if words.len() > 1 && random.u8(..4) != 0 {
        let at = random.usize(1..words.len());
        words[at] = match random.u8(..3) {
            0 => random.u8(..6).to_string(),
            1 => random.u8(..).to_string(),
            _ => NUMBERS[random.usize(..NUMBERS.len())].into(),
        };
    }
    *line = words.join(" ");
}
