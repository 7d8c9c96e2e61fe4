//! The text that all targets read.

/// More lines than this are not read: a run stays short.
const LINES_MAX: usize = 400;

/// A line: a word, and the numbers behind it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The operation.
    pub word: &'a str,
    rest: &'a str,
}

impl Line<'_> {
    /// The number at this place, 0 if there is none; `max` is the largest of 32 bits.
    pub fn number(&self, at: usize) -> u64 {
        self.numbers().nth(at).unwrap_or(0)
    }

    /// As [`number`](Line::number), its low 32 bits.
    pub fn short(&self, at: usize) -> u32 {
        self.number(at) as u32
    }

    /// All numbers.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.rest.split_ascii_whitespace().map(|number| match number {
            "max" => u32::MAX.into(),
            _ => number.parse().unwrap_or(0),
        })
    }
}

/// The lines of a text. Text after `#` is a comment; bytes that are no text end it.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).expect("it is valid up to there"),
    };
    let lines = text.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        (!word.is_empty()).then_some(Line { word, rest })
    });
    lines.take(LINES_MAX)
}

/// The first number of the last line with this word.
pub(super) fn last_number(text: &[u8], word: &str) -> Option<u32> {
    lines(text).filter(|line| line.word == word).last().map(|line| line.short(0))
}

/// Plays each line, until one breaks something: that is said with the line.
pub(super) fn each_line(text: &[u8], mut play: impl FnMut(Line<'_>) -> Result<(), String>) -> Result<(), String> {
    lines(text).try_for_each(|line| play(line).map_err(|broken| format!("{line:?}: {broken}")))
}
