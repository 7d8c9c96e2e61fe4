//! HTTP/2 framing as RFC 9113 defines it, over everything that arrived at once: slow, and sharing nothing with the
//! library.

/// What is in a stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// The client's preface (section 3.4).
    Preface,
    /// A frame that is allowed there: type, flags, stream, length.
    Frame(u8, u8, u32, usize),
    /// A frame that is an error of its stream alone; the next one follows it: stream, length with the header.
    StreamError(u32, usize),
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The bytes that are left are no whole frame; at least this many are missing.
    Partial { bytes: usize, missing: usize },
    /// The connection is in error: one of these codes (section 7); several rules may be broken, in no given order.
    Broken(Vec<u32>),
}

const PROTOCOL_ERROR: u32 = 1;
const FRAME_SIZE_ERROR: u32 = 6;
const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Everything in these bytes.
pub(super) fn decode(bytes: &[u8], from_client: bool, frame_max: usize) -> (Vec<Item>, End) {
    let mut items = Vec::new();
    let mut at = 0;
    if from_client {
        let arrived = bytes.len().min(24);
        if bytes[..arrived] != MAGIC[..arrived] {
            return (items, End::Broken(vec![PROTOCOL_ERROR]));
        }
        if arrived < 24 {
            return (items, End::Partial { bytes: arrived, missing: 24 - arrived });
        }
        items.push(Item::Preface);
        at = 24;
    }
    let mut is_first = true;
    let mut block = None;
    loop {
        let left = &bytes[at..];
        if left.len() < 9 {
            return (items, End::Partial { bytes: left.len(), missing: 9 - left.len() });
        }
        let length = usize::from(left[0]) * 65_536 + usize::from(left[1]) * 256 + usize::from(left[2]);
        let (kind, flags) = (left[3], left[4]);
        // The first bit is reserved (section 4.1).
        let stream = u32::from_be_bytes([left[5] & 127, left[6], left[7], left[8]]);
        let mut codes = connection_errors(kind, flags, stream, length, from_client);
        if is_first && (kind != 4 || flags & 1 == 1) {
            codes.push(PROTOCOL_ERROR); // Section 3.4.
        }
        if length > frame_max {
            codes.push(FRAME_SIZE_ERROR); // Section 4.2.
        }
        if block.map_or(kind == 9, |open| kind != 9 || stream != open) {
            codes.push(PROTOCOL_ERROR); // Sections 4.3 and 6.10.
        }
        if !codes.is_empty() {
            return (items, End::Broken(codes));
        }
        if kind == 2 && length != 5 {
            // Section 6.3: an error of the stream; what follows is in place.
            items.push(Item::StreamError(stream, 9 + length));
        } else {
            // The pad length is the first byte of the payload; without it the frame cannot be judged.
            if is_padded(kind, flags) && left.len() == 9 {
                return (items, End::Partial { bytes: 9, missing: length });
            }
            if let (true, Some(&pad)) = (is_padded(kind, flags), left.get(9)) {
                if overhead(kind, flags) + usize::from(pad) > length {
                    return (items, End::Broken(vec![PROTOCOL_ERROR])); // Sections 6.1, 6.2, 6.6.
                }
            }
            items.push(Item::Frame(kind, flags, stream, length));
            is_first = false;
            block = ([1, 5, 9].contains(&kind) && flags & 4 == 0).then_some(stream);
        }
        if left.len() < 9 + length {
            return (items, End::Partial { bytes: left.len(), missing: 9 + length - left.len() });
        }
        at += 9 + length;
    }
}

fn is_padded(kind: u8, flags: u8) -> bool {
    flags & 8 != 0 && [0, 1, 5].contains(&kind)
}

/// What a frame carries before its content: pad length (6.1), priority (6.2), promised stream (6.6).
fn overhead(kind: u8, flags: u8) -> usize {
    let priority = if kind == 1 && flags & 32 != 0 { 5 } else { 0 };
    let promised = if kind == 5 { 4 } else { 0 };
    usize::from(is_padded(kind, flags)) + priority + promised
}

/// What the sections on each type forbid for the whole connection.
fn connection_errors(kind: u8, flags: u8, stream: u32, length: usize, from_client: bool) -> Vec<u32> {
    let must_have_stream = [0, 1, 2, 3, 5, 9].contains(&kind);
    let must_have_none = [4, 6, 7].contains(&kind);
    let mut codes = Vec::new();
    if must_have_stream && stream == 0 || must_have_none && stream != 0 {
        codes.push(PROTOCOL_ERROR);
    }
    if kind == 5 && from_client {
        codes.push(PROTOCOL_ERROR); // Section 8.4.
    }
    let fits = match kind {
        3 | 8 => length == 4,
        4 if flags & 1 == 1 => length == 0,
        4 => length % 6 == 0,
        6 => length == 8,
        7 => length >= 8,
        _ => length >= overhead(kind, flags),
    };
    if !fits {
        codes.push(FRAME_SIZE_ERROR);
    }
    codes
}
