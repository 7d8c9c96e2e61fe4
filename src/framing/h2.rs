//! HTTP/2 frames: preface, frame header, and the rules of RFC 9113 that a frame's header alone can break.
//!
//! [`Decoder::peek`] looks; [`Decoder::accept`] moves on; [`Decoder::advance`] does both in one call, for hosts that
//! take DATA in pieces and every other frame whole. The decoder checks a header as soon as its nine bytes have arrived,
//! so a frame that is too long or out of place is refused before its payload arrives. The rules that are checked, with
//! their sections:
//!
//! | rule | error | RFC 9113 |
//! |---|---|---|
//! | a client starts with the 24 bytes of the preface | PROTOCOL_ERROR | 3.4 |
//! | the first frame of either side is SETTINGS, and not its acknowledgement | PROTOCOL_ERROR | 3.4 |
//! | a frame is not longer than the announced size | FRAME_SIZE_ERROR | 4.2 |
//! | nothing stands between the frames of one header block | PROTOCOL_ERROR | 4.3, 6.10 |
//! | DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION belong to a stream | PROTOCOL_ERROR | 6.1 to 6.4, 6.6, 6.10 |
//! | SETTINGS, PING, GOAWAY belong to the connection | PROTOCOL_ERROR | 6.5, 6.7, 6.8 |
//! | a padded frame is long enough for its pad length, a HEADERS frame for its priority, a PUSH_PROMISE for its stream | FRAME_SIZE_ERROR | 4.2, 6.1, 6.2, 6.6 |
//! | PRIORITY is 5 bytes long (an error of the stream) | FRAME_SIZE_ERROR | 6.3 |
//! | RST_STREAM and WINDOW_UPDATE are 4, PING 8, GOAWAY at least 8 bytes long | FRAME_SIZE_ERROR | 6.4, 6.7 to 6.9 |
//! | SETTINGS is a multiple of 6 bytes long, its acknowledgement empty | FRAME_SIZE_ERROR | 6.5 |
//! | a client does not promise | PROTOCOL_ERROR | 8.4 |
//! | padding is shorter than the payload ([`FrameHeader::check_padding`]) | PROTOCOL_ERROR | 6.1, 6.2, 6.6 |
//!
//! Frames of an unknown type are let through, except inside a header block (sections 4.1 and 5.5).

use core::fmt;

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's header (RFC 9113 section 4.1).
pub const HEAD_BYTES: u32 = 9;
/// The smallest limit on payloads that may be announced, and the one at the start (RFC 9113 section 6.5.2).
pub const MAX_FRAME_SIZE_MIN: u32 = 1 << 14;
/// The largest limit on payloads that may be announced (RFC 9113 section 6.5.2).
pub const MAX_FRAME_SIZE_MAX: u32 = (1 << 24) - 1;
/// Without the reserved bit (RFC 9113 section 4.1).
const STREAM_ID_MAX: u32 = (1 << 31) - 1;

/// Types of frames (RFC 9113 section 6).
pub mod kind {
    #![allow(missing_docs, reason = "the names are the RFC's")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags that the frame layer looks at (RFC 9113 section 6).
pub mod flags {
    #![allow(missing_docs, reason = "the names are the RFC's")]
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// The error codes a frame's header can cause (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum ErrorCode {
    /// PROTOCOL_ERROR.
    Protocol = 0x1,
    /// FRAME_SIZE_ERROR.
    FrameSize = 0x6,
}

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    /// What to send the peer, in GOAWAY or RST_STREAM.
    pub code: ErrorCode,
    /// The stream it is an error of; 0 for the whole connection.
    pub stream_id: u32,
    /// Of an error of one stream: length of the frame with its header, in bytes. The others go on behind it, and the
    /// decoder is where it must be then. 0 for an error of the whole connection.
    pub frame_bytes: u32,
    /// The rule, with its section.
    pub rule: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule)
    }
}

impl core::error::Error for Error {}

/// The peer that sends the decoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client: a preface first, no promises.
    Client,
    /// The server.
    Server,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the payload, in bytes.
    pub length: u32,
    /// Stream, without the reserved bit; 0 for the connection.
    pub stream_id: u32,
    /// Type; see [`kind`].
    pub kind: u8,
    /// Flags; see [`flags`].
    pub flags: u8,
}

/// What stands at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The frame cannot be identified before at least this number of further bytes has arrived.
    NeedMore(u32),
    /// The preface, whole: 24 bytes.
    Preface,
    /// A frame that may stand here; at least its header has arrived.
    Frame(FrameHeader),
}

/// How far one side's frames have come: a small value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    side: Side,
    phase: Phase,
    max_frame_size: u32,
    /// The stream whose header block is open; 0 for none.
    block_of: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preface,
    FirstSettings,
    Frames,
}

impl FrameHeader {
    /// The header of these nine bytes. The reserved bit is ignored, as it must be (RFC 9113 section 4.1).
    pub const fn decode(bytes: &[u8; 9]) -> FrameHeader {
        let [a, b, c, kind, flags, stream_id @ ..] = *bytes;
        // With the byte behind the length, which makes it one load.
        let length = u32::from_be_bytes([a, b, c, kind]) >> 8;
        FrameHeader { length, stream_id: u32::from_be_bytes(stream_id) & STREAM_ID_MAX, kind, flags }
    }

    /// The nine bytes of this header. The length is 24 bits and the stream 31; what is above is cut off.
    pub const fn encode(&self) -> [u8; 9] {
        let [_, a, b, c] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = (self.stream_id & STREAM_ID_MAX).to_be_bytes();
        [a, b, c, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Length of the whole frame with its header, in bytes. As in [`FrameHeader::encode`], the length is 24 bits.
    pub const fn frame_bytes(&self) -> u32 {
        HEAD_BYTES + (self.length & MAX_FRAME_SIZE_MAX)
    }

    /// Whether the payload starts with a pad length.
    pub const fn is_padded(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS | kind::PUSH_PROMISE) && self.flags & flags::PADDED != 0
    }

    /// Checks the pad length, the first byte of the payload of a padded frame.
    ///
    /// # Errors
    ///
    /// The padding does not leave room for what the frame must carry (RFC 9113 sections 6.1, 6.2, 6.6).
    pub fn check_padding(&self, pad_length: u8) -> Result<(), Error> {
        let fits = self.fixed_bytes() + u32::from(pad_length) <= self.length;
        connection_rule(
            !self.is_padded() || fits,
            ErrorCode::Protocol,
            "padding is longer than its frame (6.1, 6.2, 6.6)",
        )
    }

    /// Bytes of the payload that its flags and type ask for: pad length, priority, promised stream.
    const fn fixed_bytes(&self) -> u32 {
        let pad = if self.is_padded() { 1 } else { 0 };
        match self.kind {
            kind::HEADERS if self.flags & flags::PRIORITY != 0 => pad + 5,
            kind::PUSH_PROMISE => pad + 4,
            _ => pad,
        }
    }
}

impl Decoder {
    /// A decoder for what this side sends, from its first byte on.
    pub const fn new(side: Side) -> Decoder {
        let phase = match side {
            Side::Client => Phase::Preface,
            Side::Server => Phase::FirstSettings,
        };
        Decoder { side, phase, max_frame_size: MAX_FRAME_SIZE_MIN, block_of: 0 }
    }

    /// Sets the largest payload, in bytes, that the receiver of these frames has announced and seen acknowledged.
    ///
    /// # Errors
    ///
    /// Outside what may be announced (RFC 9113 section 6.5.2); nothing is changed.
    pub fn set_max_frame_size(&mut self, bytes: u32) -> Result<(), Error> {
        let allowed = (MAX_FRAME_SIZE_MIN..=MAX_FRAME_SIZE_MAX).contains(&bytes);
        connection_rule(allowed, ErrorCode::Protocol, "SETTINGS_MAX_FRAME_SIZE is 16384 to 16777215 (6.5.2)")?;
        self.max_frame_size = bytes;
        Ok(())
    }

    /// Looks at the front of what is buffered. Changes nothing, so it may be asked again with more.
    ///
    /// # Errors
    ///
    /// The bytes at the front break a rule; the module's table lists the rules that are checked.
    pub fn peek(&self, data: &[u8]) -> Result<Next, Error> {
        if self.phase == Phase::Preface {
            return peek_preface(data);
        }
        match data.first_chunk::<9>() {
            None => Ok(Next::NeedMore(HEAD_BYTES - data.len() as u32)),
            Some(bytes) => {
                let head = FrameHeader::decode(bytes);
                self.check(&head)?;
                Ok(Next::Frame(head))
            }
        }
    }

    /// Moves on behind what [`Decoder::peek`] found. `NeedMore` changes nothing.
    pub fn accept(&mut self, next: &Next) {
        match next {
            Next::NeedMore(_) => {}
            Next::Preface => self.phase = Phase::FirstSettings,
            Next::Frame(head) => {
                self.phase = Phase::Frames;
                let opens = matches!(head.kind, kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION);
                self.block_of = if opens && head.flags & flags::END_HEADERS == 0 { head.stream_id } else { 0 };
            }
        }
    }

    /// Whether [`Decoder::peek`] could have found this here.
    #[doc(hidden)]
    pub fn could_find(&self, next: &Next) -> bool {
        match next {
            Next::NeedMore(_) => true,
            Next::Preface => self.phase == Phase::Preface,
            Next::Frame(head) => self.phase != Phase::Preface && self.check(head).is_ok(),
        }
    }

    /// The decoder as four numbers, for C: all zero is a client's at its first byte.
    #[doc(hidden)]
    pub fn to_words(self) -> [u32; 4] {
        let phase = match self.phase {
            Phase::Preface => 0,
            Phase::FirstSettings => 1,
            Phase::Frames => 2,
        };
        [u32::from(self.side == Side::Server), phase, self.max_frame_size - MAX_FRAME_SIZE_MIN, self.block_of]
    }

    /// The decoder that the four numbers of `to_words` describe; `None` if they describe none.
    #[doc(hidden)]
    pub fn from_words([side, phase, above_min, block_of]: [u32; 4]) -> Option<Decoder> {
        let side = [Side::Client, Side::Server].get(side as usize).copied()?;
        let phase = [Phase::Preface, Phase::FirstSettings, Phase::Frames].get(phase as usize).copied()?;
        let max_frame_size = MAX_FRAME_SIZE_MIN.checked_add(above_min)?;
        let sane = max_frame_size <= MAX_FRAME_SIZE_MAX && !(side == Side::Server && phase == Phase::Preface);
        sane.then_some(Decoder { side, phase, max_frame_size, block_of })
    }

    /// `peek` and `accept` in one call: the frame that is returned is accepted. DATA is returned as soon as its header
    /// is there, any other frame once it is whole; `NeedMore` counts the bytes that are missing until then.
    ///
    /// Cost: O(1); of a frame without padding or priority, outside of a header block, one look at a table.
    ///
    /// # Errors
    ///
    /// As [`Decoder::peek`]; nothing is accepted then.
    #[inline]
    pub fn advance(&mut self, data: &[u8]) -> Result<Next, Error> {
        if self.phase == Phase::Frames && self.block_of == 0 {
            if let Some(head) = common_frame(data, self.max_frame_size) {
                return Ok(Next::Frame(head));
            }
        }
        self.advance_slowly(data)
    }

    #[inline(never)]
    fn advance_slowly(&mut self, data: &[u8]) -> Result<Next, Error> {
        let next = self.peek(data)?;
        if let Next::Frame(head) = next {
            let missing = u64::from(head.frame_bytes()).saturating_sub(data.len() as u64);
            if head.kind != kind::DATA && missing > 0 {
                return Ok(Next::NeedMore(missing as u32));
            }
        }
        self.accept(&next);
        Ok(next)
    }

    fn check(&self, head: &FrameHeader) -> Result<(), Error> {
        let is_settings = head.kind == kind::SETTINGS && head.flags & flags::ACK == 0;
        let started = self.phase == Phase::Frames || is_settings;
        connection_rule(started, ErrorCode::Protocol, "the first frame is SETTINGS (3.4)")?;
        let short_enough = head.length <= self.max_frame_size;
        connection_rule(short_enough, ErrorCode::FrameSize, "a frame is longer than was announced (4.2)")?;
        self.check_block(head)?;
        self.check_stream(head)?;
        check_length(head)
    }

    fn check_block(&self, head: &FrameHeader) -> Result<(), Error> {
        let continues = head.kind == kind::CONTINUATION;
        let in_place = if self.block_of == 0 { !continues } else { continues && head.stream_id == self.block_of };
        connection_rule(in_place, ErrorCode::Protocol, "a header block is one piece (4.3, 6.10)")
    }

    fn check_stream(&self, head: &FrameHeader) -> Result<(), Error> {
        let (in_place, rule) = match head.kind {
            kind::DATA
            | kind::HEADERS
            | kind::PRIORITY
            | kind::RST_STREAM
            | kind::PUSH_PROMISE
            | kind::CONTINUATION => (head.stream_id != 0, "the frame belongs to a stream (6.1 to 6.4, 6.6, 6.10)"),
            kind::SETTINGS | kind::PING | kind::GOAWAY => {
                (head.stream_id == 0, "the frame belongs to the connection (6.5, 6.7, 6.8)")
            }
            _ => (true, ""),
        };
        connection_rule(in_place, ErrorCode::Protocol, rule)?;
        let promises = head.kind == kind::PUSH_PROMISE && self.side == Side::Client;
        connection_rule(!promises, ErrorCode::Protocol, "a client does not promise (8.4)")
    }
}

/// What the header of a common frame of one type looks like. Whatever differs is not wrong, but looked at by `check`.
#[derive(Clone, Copy)]
struct CommonFrame {
    length_min: u32,
    /// By how much it may be longer.
    length_span: u32,
    stream_min: u32,
    stream_span: u32,
    /// The bits of the length that must have arrived: all of them, or none.
    whole: u32,
    /// Of these flags exactly `flags_set` are set.
    flags_mask: u8,
    flags_set: u8,
}

impl CommonFrame {
    /// It depends on more than its header, or is rare: no stream has this number.
    const NEVER: CommonFrame = CommonFrame::whole((0, 0), (u32::MAX, u32::MAX));

    /// Of a length and a stream, each from the first to the second.
    const fn whole(length: (u32, u32), stream: (u32, u32)) -> CommonFrame {
        CommonFrame {
            length_min: length.0,
            length_span: length.1 - length.0,
            stream_min: stream.0,
            stream_span: stream.1 - stream.0,
            whole: u32::MAX,
            flags_mask: 0,
            flags_set: 0,
        }
    }
}

/// A row for each type that is known.
const COMMON_FRAMES: [CommonFrame; 10] = {
    const CONNECTION: (u32, u32) = (0, 0);
    const STREAM: (u32, u32) = (1, STREAM_ID_MAX);
    const EITHER: (u32, u32) = (0, STREAM_ID_MAX);
    let of_any_length = CommonFrame::whole((0, MAX_FRAME_SIZE_MAX), STREAM);
    [
        // DATA, which goes on as it comes.
        CommonFrame { whole: 0, flags_mask: flags::PADDED, ..of_any_length },
        // HEADERS: the whole header block, in one frame.
        CommonFrame {
            flags_mask: flags::PADDED | flags::PRIORITY | flags::END_HEADERS,
            flags_set: flags::END_HEADERS,
            ..of_any_length
        },
        CommonFrame::whole((5, 5), STREAM),                      // PRIORITY
        CommonFrame::whole((4, 4), STREAM),                      // RST_STREAM
        CommonFrame::NEVER,                                      // SETTINGS
        CommonFrame::NEVER,                                      // PUSH_PROMISE
        CommonFrame::whole((8, 8), CONNECTION),                  // PING
        CommonFrame::whole((8, MAX_FRAME_SIZE_MAX), CONNECTION), // GOAWAY
        CommonFrame::whole((4, 4), EITHER),                      // WINDOW_UPDATE
        CommonFrame::NEVER,                                      // CONTINUATION
    ]
};

/// Fast path of `Decoder::advance`, for a decoder that is among frames and in no header block: the frame at the front
/// if it is a common one, and whole or DATA. Such a frame breaks no rule, and accepting it does not change the decoder.
///
/// Public for the C layer, which keeps the decoder as four numbers.
#[doc(hidden)]
#[inline(always)]
pub fn common_frame(data: &[u8], max_frame_size: u32) -> Option<FrameHeader> {
    let head = FrameHeader::decode(data.first_chunk::<9>()?);
    let common = COMMON_FRAMES.get(usize::from(head.kind))?;
    // Each a comparison and a branch that is hardly ever taken: less than to compute all and branch once.
    let is_common = head.length <= max_frame_size
        && head.length.wrapping_sub(common.length_min) <= common.length_span
        && head.stream_id.wrapping_sub(common.stream_min) <= common.stream_span
        && head.flags & common.flags_mask == common.flags_set
        && (HEAD_BYTES + (head.length & common.whole)) as usize <= data.len();
    is_common.then_some(head)
}

fn peek_preface(data: &[u8]) -> Result<Next, Error> {
    let have = data.len().min(PREFACE.len());
    let alike = data[..have] == PREFACE[..have];
    connection_rule(alike, ErrorCode::Protocol, "a client starts with the preface (3.4)")?;
    match PREFACE.len() - have {
        0 => Ok(Next::Preface),
        missing => Ok(Next::NeedMore(missing as u32)),
    }
}

fn check_length(head: &FrameHeader) -> Result<(), Error> {
    let length = head.length;
    let (fits, rule) = match head.kind {
        kind::PRIORITY if length != 5 => {
            let rule = "PRIORITY is 5 bytes long (6.3)";
            let (stream_id, frame_bytes) = (head.stream_id, head.frame_bytes());
            return Err(Error { code: ErrorCode::FrameSize, stream_id, frame_bytes, rule });
        }
        kind::RST_STREAM => (length == 4, "RST_STREAM is 4 bytes long (6.4)"),
        kind::SETTINGS if head.flags & flags::ACK != 0 => (length == 0, "an acknowledgement is empty (6.5)"),
        kind::SETTINGS => (length % 6 == 0, "SETTINGS is a multiple of 6 bytes long (6.5)"),
        kind::PING => (length == 8, "PING is 8 bytes long (6.7)"),
        kind::GOAWAY => (length >= 8, "GOAWAY is at least 8 bytes long (6.8)"),
        kind::WINDOW_UPDATE => (length == 4, "WINDOW_UPDATE is 4 bytes long (6.9)"),
        _ => (length >= head.fixed_bytes(), "the frame is too short for its flags (4.2, 6.1, 6.2, 6.6)"),
    };
    connection_rule(fits, ErrorCode::FrameSize, rule)
}

fn connection_rule(holds: bool, code: ErrorCode, rule: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error { code, stream_id: 0, frame_bytes: 0, rule }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every type, every combination of flags, with and without stream, lengths around every limit, whole and in part:
    /// a common frame is what the rules let through, and `advance` answers as `peek` and `accept` do.
    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes, and has no unsafe code
    fn common_frame_equals_check() {
        let lengths = [0, 1, 3, 4, 5, 6, 7, 8, 9, 12, MAX_FRAME_SIZE_MIN, MAX_FRAME_SIZE_MIN + 1, MAX_FRAME_SIZE_MAX];
        let data = vec![0; HEAD_BYTES as usize + 64];
        let mut common_frames = 0;
        for side in [Side::Client, Side::Server] {
            for (phase, block_of) in
                [(Phase::Preface, 0), (Phase::FirstSettings, 0), (Phase::Frames, 0), (Phase::Frames, 1)]
            {
                let decoder = Decoder { side, phase, max_frame_size: MAX_FRAME_SIZE_MIN, block_of };
                for (kind, flags, stream_id) in headers() {
                    for length in lengths {
                        let head = FrameHeader { length, stream_id, kind, flags };
                        let mut data = data.clone();
                        data[..9].copy_from_slice(&head.encode());
                        let whole = data.len().min(head.frame_bytes() as usize);
                        for arrived in [0, 8, 9, whole - 1, whole] {
                            common_frames += u32::from(equals_check(decoder, &data[..arrived]));
                        }
                    }
                }
            }
        }
        assert!(common_frames > 10_000, "the fast path was taken {common_frames} times");
    }

    fn headers() -> impl Iterator<Item = (u8, u8, u32)> {
        let kinds = (0..=11).chain([u8::MAX]);
        kinds.flat_map(|kind| (0..=u8::MAX).flat_map(move |flags| [0, 1].map(|stream_id| (kind, flags, stream_id))))
    }

    fn equals_check(decoder: Decoder, data: &[u8]) -> bool {
        let mut expected = decoder;
        let answer = match decoder.peek(data) {
            Ok(Next::Frame(head)) if head.kind != kind::DATA && (head.frame_bytes() as usize) > data.len() => {
                Ok(Next::NeedMore(head.frame_bytes() - data.len() as u32))
            }
            Ok(next) => {
                expected.accept(&next);
                Ok(next)
            }
            Err(error) => Err(error),
        };
        let mut advanced = decoder;
        assert_eq!((advanced.advance(data), advanced), (answer, expected), "{decoder:?} {data:?}");
        decoder.phase == Phase::Frames && decoder.block_of == 0 && common_frame(data, decoder.max_frame_size).is_some()
    }
}
