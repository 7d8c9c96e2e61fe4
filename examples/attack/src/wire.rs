//! Frames as attackers need them: correct, and cut wherever they like.

use crate::attackers::Arrival;
use demuxbuf::framing::h2::{FrameHeader, HEAD_BYTES, PREFACE, flags, kind};

const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: u32 = (1 << 16) - 1;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
pub(crate) const END_STREAM: u8 = 0x1;
const UNKNOWN_KIND: u8 = 0xfe;

/// A farewell's head, the last stream and the code.
const FAREWELL_BYTES: usize = HEAD_BYTES as usize + 8;

/// Indices of HPACK's static table, and how a field that names one is written without being remembered.
const METHOD_GET: u8 = 0x82;
const SCHEME_HTTP: u8 = 0x86;
const AUTHORITY_FOLLOWS: u8 = 0x01;
const PATH_FOLLOWS: u8 = 0x04;
const NAME_FOLLOWS: u8 = 0x00;

/// The preface of every connection, with windows so large that flow control never holds a response back.
pub(crate) fn opening() -> Vec<u8> {
    let [id, value] = [SETTINGS_INITIAL_WINDOW_SIZE.to_be_bytes().to_vec(), LARGEST_WINDOW.to_be_bytes().to_vec()];
    let settings = frame(kind::SETTINGS, 0, 0, &[id, value].concat());
    let window = frame(kind::WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - FIRST_WINDOW).to_be_bytes());
    [&PREFACE[..], &settings, &window].concat()
}

/// The first bytes of a header block; its frame header announces `frame_bytes`.
pub(crate) fn begun(sent_bytes: usize, length: u32) -> Vec<u8> {
    let head = FrameHeader { length, stream_id: 1, kind: kind::HEADERS, flags: flags::END_HEADERS | END_STREAM };
    let mut bytes = head.encode().to_vec();
    bytes.resize(sent_bytes.max(HEAD_BYTES as usize), 0);
    bytes.truncate(sent_bytes);
    bytes
}

/// A whole frame of a type that HTTP/2 does not have, which an endpoint ignores.
pub(crate) fn ignored(length: u32) -> Vec<u8> {
    frame(UNKNOWN_KIND, 0, 0, &vec![0; length as usize])
}

/// A request for a path, with a field of `padding` bytes without meaning.
pub(crate) fn request(stream_id: u32, path: &str, fill_bytes: usize) -> Vec<u8> {
    let mut block = vec![METHOD_GET, SCHEME_HTTP, AUTHORITY_FOLLOWS];
    push_text(&mut block, b"attack");
    block.push(PATH_FOLLOWS);
    push_text(&mut block, path.as_bytes());
    if fill_bytes > 0 {
        block.push(NAME_FOLLOWS);
        push_text(&mut block, b"x-fill");
        push_text(&mut block, &vec![b'x'; fill_bytes]);
    }
    frame(kind::HEADERS, flags::END_HEADERS | END_STREAM, stream_id, &block)
}

pub(crate) fn frame(kind: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let head = FrameHeader { length: payload.len() as u32, stream_id, kind, flags };
    [&head.encode(), payload].concat()
}

/// A text as HPACK has it, its length in seven bits and then as many as it takes.
fn push_text(block: &mut Vec<u8>, text: &[u8]) {
    const PREFIX: usize = 127;
    match text.len().checked_sub(PREFIX) {
        None => block.push(text.len() as u8),
        Some(mut rest) => {
            block.push(PREFIX as u8);
            while rest >= 128 {
                block.push(128 | (rest % 128) as u8);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend_from_slice(text);
}

/// Reads what comes back, as far as an attacker cares.
#[derive(Debug, Default)]
pub(crate) struct Answers<'a> {
    /// Counted once the other side's settings have arrived.
    arrival: Option<&'a Arrival<'a>>,
    /// Of the current frame: its header, and of a GOAWAY the payload.
    kept: Vec<u8>,
    /// Bytes still to come of a skipped frame.
    skipped: usize,
    /// Streams that the other side has ended.
    pub(crate) ended: u64,
    /// Its settings have arrived.
    pub(crate) has_settings: bool,
    /// It sent GOAWAY with ENHANCE_YOUR_CALM.
    pub(crate) is_shed: bool,
}

impl<'a> Answers<'a> {
    pub(crate) fn of(arrival: &'a Arrival<'a>) -> Answers<'a> {
        Answers { arrival: Some(arrival), ..Answers::default() }
    }

    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skipped > 0 {
                let skipped = self.skipped.min(bytes.len());
                self.skipped -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.kept.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some(head) = self.kept.first_chunk().map(FrameHeader::decode) {
                self.read_frame(&head);
            }
        }
    }

    fn read_frame(&mut self, head: &FrameHeader) {
        // A farewell is read as far as its code.
        if head.kind == kind::GOAWAY && self.kept.len() < (head.frame_bytes() as usize).min(FAREWELL_BYTES) {
            return;
        }
        self.skipped = head.frame_bytes() as usize - self.kept.len();
        match head.kind {
            kind::DATA | kind::HEADERS if head.flags & END_STREAM != 0 => self.ended += 1,
            kind::RST_STREAM => self.ended += 1,
            kind::SETTINGS if head.flags & flags::ACK == 0 => {
                self.has_settings = true;
                self.arrival.iter().for_each(|arrival| arrival.count());
            }
            kind::GOAWAY => {
                let code = self.kept[HEAD_BYTES as usize..].get(4..8);
                self.is_shed |= code == Some(&ENHANCE_YOUR_CALM.to_be_bytes());
            }
            _ => {}
        }
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_header_has_the_size_asked_for() {
        for bytes in [1, 8, 9, 10, 4097] {
            assert_eq!(begun(bytes, 16_000).len(), bytes);
        }
        assert_eq!(ignored(16_384).len(), 16_384 + HEAD_BYTES as usize);
        assert_eq!(begun(10, 0x0102_0304 >> 8)[..4], [1, 2, 3, kind::HEADERS]);
    }

    #[test]
    fn hpack_lengths() {
        let written = |bytes| {
            let mut block = Vec::new();
            push_text(&mut block, &vec![0; bytes]);
            block.truncate(block.len() - bytes);
            block
        };
        assert_eq!([written(0), written(126), written(127)], [vec![0], vec![126], vec![127, 0]]);
        assert_eq!([written(254), written(255), written(1337)], [vec![127, 127], vec![127, 128, 1], vec![127, 186, 9]]);
    }

    #[test]
    fn answers_are_read_in_any_split() {
        let farewell = |code: u32| frame(kind::GOAWAY, 0, 0, &[0u32.to_be_bytes(), code.to_be_bytes()].concat());
        let stream = [
            frame(kind::SETTINGS, flags::ACK, 0, &[]),
            frame(kind::HEADERS, flags::END_HEADERS, 1, &[0x88]),
            frame(kind::DATA, END_STREAM, 1, &[1; 100]),
            frame(kind::HEADERS, flags::END_HEADERS | END_STREAM, 3, &[0x88]),
            frame(kind::RST_STREAM, 0, 5, &[0; 4]),
            farewell(0),
        ]
        .concat();
        for piece_bytes in [1, 2, 7, 1000] {
            let mut answers = Answers::default();
            stream.chunks(piece_bytes).for_each(|piece| answers.read(piece));
            assert_eq!((answers.ended, answers.has_settings, answers.is_shed), (3, false, false));
            frame(kind::SETTINGS, 0, 0, &[0; 6]).chunks(piece_bytes).for_each(|piece| answers.read(piece));
            assert!(answers.has_settings);
            farewell(ENHANCE_YOUR_CALM).chunks(piece_bytes).for_each(|piece| answers.read(piece));
            assert!(answers.is_shed);
        }
    }
}
