//! What peers send.

use demuxbuf::framing::h2::{FrameHeader, kind};
use std::ops::Range;

const HEAD_BYTES: u64 = 9;

/// These bytes of a stream. A byte differs from its neighbours, from the bytes 256 places away, and from the byte at
/// its place in the next stream.
pub fn numbered(stream: u64, places: Range<u64>) -> Vec<u8> {
    let byte = |at: u64| at.wrapping_mul(31).wrapping_add((at >> 8).wrapping_mul(17)).wrapping_add(stream * 89) as u8;
    places.map(byte).collect()
}

/// A frame with this payload.
pub fn frame(kind: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let head = FrameHeader { length: payload.len() as u32, stream_id, kind, flags };
    [head.encode().as_slice(), payload].concat()
}

/// A DATA frame of this size, header included, with the numbered bytes of stream `frame_bytes`.
pub fn data_frame(frame_bytes: usize) -> Vec<u8> {
    let bytes = frame_bytes as u64;
    frame(kind::DATA, 0, 1, &numbered(bytes, HEAD_BYTES..bytes))
}

/// A small control frame: 13 bytes.
pub fn window_update() -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])
}
