//! HTTP/2 frames as bytes, written and read without the library.

use std::io::Read;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The next frame of a stream of bytes; `None` where it ends or is cut off.
    pub(crate) fn read(from: &mut impl Read) -> Option<Frame> {
        let mut head = [0; 9];
        from.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        from.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]), payload })
    }

    /// Last stream and error code of a GOAWAY.
    pub(crate) fn goaway(&self) -> Option<(u32, u32)> {
        let number = |at: usize| u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"));
        (self.kind == GOAWAY && self.payload.len() == 8).then(|| (number(0), number(4)))
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags, s0, s1, s2, s3];
    bytes.extend_from_slice(payload);
    bytes
}

/// SETTINGS that announce the largest frame.
pub(crate) fn max_frame_size(bytes: u32) -> Vec<u8> {
    let [a, b, c, d] = bytes.to_be_bytes();
    frame(SETTINGS, 0, 0, &[0, 5, a, b, c, d])
}

pub(crate) fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
}

/// The preface of a client.
pub(crate) fn client_opening() -> Vec<u8> {
    [PREFACE, &settings()].concat()
}

/// A request and a response of one HEADERS frame each; the relay does not look inside.
pub(crate) fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, b"not really HPACK")
}

/// Frames of every type that a side may send on streams 1 and 3, in an order that is allowed.
pub(crate) fn one_of_each() -> Vec<u8> {
    [
        settings(),
        frame(SETTINGS, ACK, 0, &[]),
        frame(HEADERS, 0, 1, &[7; 30]),
        frame(CONTINUATION, 0, 1, &[8; 20]),
        frame(CONTINUATION, END_HEADERS, 1, &[]),
        frame(DATA, 0, 1, &[9; 70]),
        frame(DATA, PADDED | END_STREAM, 1, &[2, b'x', 0, 0]),
        frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 15]),
        frame(PING, 0, 0, b"8 bytes."),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, b"more"),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
        frame(0xfa, 0xff, 3, b"a type of the future"),
        frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]),
        frame(DATA, 0, 1, &[]),
        frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0, b'b', b'y', b'e']),
    ]
    .concat()
}
