//! Source text with all mutants, which can be switched on one by one, and source text with one mutant alone.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::find::{Found, HERE, Mutant};

/// The function that the source calls to see whether a mutant is switched on.
const CALL: &str = "crate::mutant_switch::is_on";

/// That function's module: the number of the mutant is read from the environment once, without an allocation. If it is
/// [`RECORD`], no mutant is on, and the numbers of those that were asked for are written to a file when the process
/// ends.
pub const MODULE: &str = r#"
#[allow(unsafe_code, missing_docs, unreachable_pub, dead_code)]
pub mod mutant_switch {
    use core::ffi::{CStr, c_char, c_int, c_void};
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    const UNREAD: u32 = u32::MAX;
    const RECORD: u32 = u32::MAX - 1;

    static ON: AtomicU32 = AtomicU32::new(UNREAD);
    /// A bit for each mutant.
    static REACHED: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

    unsafe extern "C" {
        fn getenv(name: *const c_char) -> *const c_char;
        fn atexit(act: extern "C" fn()) -> c_int;
        fn open(path: *const c_char, flags: c_int, ...) -> c_int;
        fn write(file: c_int, bytes: *const c_void, count: usize) -> isize;
        fn close(file: c_int) -> c_int;
    }

    #[inline(never)]
    pub fn is_on(number: u32) -> bool {
        let on = match ON.load(Ordering::Relaxed) {
            UNREAD => read(),
            on => on,
        };
        if on == RECORD {
            REACHED[number as usize / 64].fetch_or(1 << (number % 64), Ordering::Relaxed);
        }
        on == number
    }

    #[cold]
    fn read() -> u32 {
        // SAFETY: the name ends with 0, and so does the value; nothing changes the environment meanwhile.
        let text = unsafe { getenv(c"DEMUXBUF_MUTANT".as_ptr()).as_ref().map(|text| CStr::from_ptr(text)) };
        let number = text.and_then(|text| text.to_str().ok()).and_then(|text| text.parse().ok()).unwrap_or(0);
        if ON.swap(number, Ordering::Relaxed) == UNREAD && number == RECORD {
            // SAFETY: the function may be called at any time.
            unsafe { atexit(report) };
        }
        number
    }

    /// Several processes of one test append to the file.
    extern "C" fn report() {
        const WRITE_AND_APPEND: c_int = 0o2001;
        // SAFETY: the name ends with 0, and so does the path; an array of atomics is valid for reads.
        unsafe {
            let path = getenv(c"DEMUXBUF_REACHED".as_ptr());
            let file = if path.is_null() { -1 } else { open(path, WRITE_AND_APPEND) };
            write(file, REACHED.as_ptr().cast(), size_of_val(&REACHED));
            close(file);
        }
    }
}
"#;

/// In place of a mutant's number.
pub const RECORD: u32 = u32::MAX - 1;

/// More mutants than this cannot be in one library.
pub const MUTANTS_MAX: u32 = 64 * 1024;

/// The numbers of the mutants that were reached, from what the library wrote.
pub fn reached(written: &[u8]) -> BTreeSet<u32> {
    let words = written.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("it has 8 bytes")));
    let words = (0..MUTANTS_MAX / 64).cycle().zip(words);
    words.flat_map(|(at, word)| (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| 64 * at + bit)).collect()
}

/// A source file with its mutants, and where each of them is in it.
pub struct Switched {
    pub text: String,
    /// Bytes of the text that a compiler error about one of these mutants, by index, lies in.
    pub places: Vec<Place>,
}

pub type Place = (Range<usize>, Vec<usize>);

/// Something to write at a place. Of those at one place the ends come first, the innermost first, then the beginnings,
/// the outermost first, then what replaces other text.
struct Piece<'a> {
    at: usize,
    rank: (u8, isize, isize),
    skip_to: usize,
    text: String,
    edit: usize,
    mutants: &'a [usize],
}

/// Writes a file with those mutants that `number` gives a number.
pub fn switch(text: &str, found: &Found, number: impl Fn(usize) -> Option<u32>) -> Switched {
    let mut pieces = Vec::new();
    for (index, edit) in found.edits.iter().enumerate() {
        let numbers: Vec<Option<u32>> = edit.mutants.iter().map(|&mutant| number(mutant)).collect();
        if numbers.iter().all(Option::is_none) {
            continue;
        }
        let mut next = numbers.iter();
        // A mutant without a number is never on.
        let mut fill = |template: &str| {
            let mut parts = template.split(HERE);
            let mut filled = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let number = next.next().copied().flatten();
                let call = number.map_or("false".to_owned(), |number| format!("{CALL}({number})"));
                filled = filled + &call + part;
            }
            filled
        };
        let (from, to) = (edit.around.start, edit.around.end);
        let order = index as isize;
        let first = fill(&edit.frame[0]);
        let mutants = &edit.mutants[..];
        pieces.push(Piece {
            at: from,
            rank: (2, -(to as isize), order),
            skip_to: from,
            text: first,
            edit: index,
            mutants,
        });
        if let Some((range, with)) = &edit.inner {
            let text = fill(with);
            pieces.push(Piece { at: range.start, rank: (3, 0, 0), skip_to: range.end, text, edit: index, mutants });
        }
        let last = fill(&edit.frame[1]);
        pieces.push(Piece {
            at: to,
            rank: (0, -(from as isize), -order),
            skip_to: to,
            text: last,
            edit: index,
            mutants,
        });
    }
    pieces.sort_by_key(|piece| (piece.at, piece.rank));
    let (mut out, mut at) = (String::new(), 0);
    let mut open: Vec<Option<usize>> = vec![None; found.edits.len()];
    let mut places = Vec::new();
    for piece in pieces {
        if piece.at < at {
            continue;
        }
        if piece.at > at {
            out += &text[at..piece.at];
            at = piece.at;
        }
        if piece.rank.0 == 2 {
            open[piece.edit] = Some(out.len());
        }
        out += &piece.text;
        at = at.max(piece.skip_to);
        if piece.rank.0 == 0 {
            let from = open[piece.edit].take().unwrap_or(0);
            places.push((from..out.len(), piece.mutants.to_vec()));
        }
    }
    out += &text[at..];
    // Where a function returns at once, an error is in what was inserted, not in the rest of the body.
    for (range, mutants) in &mut places {
        if mutants.iter().all(|&mutant| found.mutants[mutant].what.starts_with("replace body")) {
            range.end = range.start + out[range.start..].find('}').map_or(1, |at| at + 1);
        }
    }
    Switched { text: out, places }
}

/// Writes a file with one mutant that is always on.
pub fn alone(text: &str, mutant: &Mutant) -> String {
    let (range, with) = &mutant.alone;
    format!("{} {with} {}", &text[..range.start], &text[range.end..])
}
