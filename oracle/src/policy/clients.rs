//! What clients send, and what their decoders can use.

use crate::receiving_system::Rest;
use std::collections::VecDeque;

/// Header of a frame.
const HEADER_BYTES: u32 = 9;
/// The largest frame with its header, and its payload.
pub(super) const FRAME_BYTES_MAX: u32 = 16_393;
const PAYLOAD_BYTES_MAX: u32 = 16_384;
/// Frames of an upload.
pub(super) const UPLOAD_FRAMES: u32 = 12;
/// The most that a kernel holds for a connection, by default.
pub(super) const KERNEL_BYTES_MAX: u32 = 65_536;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Sends the beginning of a frame, and nothing more.
    Static,
    /// After that, 25 bytes ten times a second, of a frame of the largest size.
    Drip,
    /// The same, in frames of which 100 bytes are missing at first.
    BackToBack,
    /// After that, one byte every 1.9 s.
    OneByte,
    /// Every 1.9 s the rest of the frame, and the beginning of the next.
    Complete,
    /// 1,000 bytes ten times a second.
    Fast,
    /// A whole frame that the host never decodes.
    Blocked,
    /// Honest: requests of one frame, at once.
    Whole,
    /// In two halves, 20 ms apart.
    Halves,
    /// 1,000 bytes ten times a second.
    Slow,
    /// Twelve frames of the largest size, each decoded as a whole.
    Upload,
    /// The same, decoded in whatever pieces come.
    UploadInPieces,
    /// The last byte 2 ms before the frame is late.
    Edge,
    /// The decoder learns the length of its frame in three steps.
    Growing,
    /// The host decodes it 200 ms later.
    HeldBriefly,
}

/// A kind of honest clients: its name, its behaviour, and the size of its requests.
pub type Kind = (&'static str, Behaviour, u32);

/// The kinds of honest clients.
pub const KINDS: [Kind; 13] = [
    ("35 B", Behaviour::Whole, 44),
    ("700 B", Behaviour::Whole, 709),
    ("6,000 B", Behaviour::Whole, 6_009),
    ("700 B in two", Behaviour::Halves, 709),
    ("6,000 B in two", Behaviour::Halves, 6_009),
    ("700 B slowly", Behaviour::Slow, 709),
    ("6,000 B slowly", Behaviour::Slow, 6_009),
    ("upload", Behaviour::Upload, FRAME_BYTES_MAX),
    ("upload in pieces", Behaviour::UploadInPieces, FRAME_BYTES_MAX),
    ("35 B in two", Behaviour::Halves, 44),
    ("edge", Behaviour::Edge, 6_009),
    ("growing", Behaviour::Growing, 6_009),
    ("held briefly", Behaviour::HeldBriefly, 2_009),
];

/// A client, its connection, and its decoder in the host.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) behaviour: Behaviour,
    /// Of an honest one, its kind.
    pub(super) kind: Option<usize>,
    /// Size of requests, or what an attacker sends at first.
    pub(super) bytes: u32,
    pub(super) reconnects: bool,
    /// How often it connected: what was planned in an earlier life is void.
    pub(super) life: u32,
    pub(super) is_attached: bool,
    /// What the kernel holds, and what the network holds.
    pub(super) kernel: u32,
    pub(super) pending: u32,
    /// The kernel reports this many bytes, or that it holds no more.
    pub(super) mark: u32,
    pub(super) unsent: u32,
    /// When its request began, if it waits for an answer.
    pub(super) request: Option<u64>,
    /// Bytes that the host has and did not decode.
    pub(super) kept: u32,
    /// The last of them that it only looked at.
    pub(super) seen: u32,
    pub(super) is_held: bool,
    pub(super) is_ready: bool,
    pub(super) frame: Frame,
    pub(super) frames_left: u32,
    consumed: u64,
    arrived: u64,
    /// When which byte arrived, of those not consumed, if it is honest.
    arrivals: VecDeque<(u64, u64)>,
}

/// The frame at the front of what was received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frame {
    /// Its length; 0 between requests.
    bytes: u32,
    /// What the decoder learns after the header, before it learns the length.
    first_part_bytes: u32,
    /// What is left of a payload that is decoded in pieces.
    payload_bytes: u32,
    /// The host will not decode it at once.
    is_to_be_held: bool,
}

/// What one run of the decoder did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decoded {
    pub(super) consumed: u32,
    /// The last frame of the request was decoded.
    pub(super) is_request_done: bool,
    /// The host decodes the frame that is whole now at another time.
    pub(super) holds: bool,
}

impl Client {
    pub(super) fn new(behaviour: Behaviour, kind: Option<usize>, bytes: u32, reconnects: bool) -> Client {
        Client {
            behaviour,
            kind,
            bytes,
            reconnects,
            life: 0,
            is_attached: false,
            kernel: 0,
            pending: 0,
            mark: 1,
            unsent: 0,
            request: None,
            kept: 0,
            seen: 0,
            is_held: false,
            is_ready: false,
            frame: Frame::default(),
            frames_left: 0,
            consumed: 0,
            arrived: 0,
            arrivals: VecDeque::new(),
        }
    }

    /// Another connection, of which nothing was sent.
    pub(super) fn reset(&mut self) {
        let (life, request) = (self.life + 1, self.request);
        *self = Client { life, request, ..Client::new(self.behaviour, self.kind, self.bytes, self.reconnects) };
    }

    pub(super) fn next_frame(&mut self) {
        let bytes = match self.behaviour {
            Behaviour::UploadInPieces => HEADER_BYTES,
            Behaviour::BackToBack | Behaviour::Complete => (self.bytes + 100).min(FRAME_BYTES_MAX),
            _ if self.kind.is_some() => self.bytes,
            _ => FRAME_BYTES_MAX,
        };
        self.frame = Frame {
            bytes,
            first_part_bytes: if self.behaviour == Behaviour::Growing { 3_009 } else { bytes },
            payload_bytes: 0,
            is_to_be_held: matches!(self.behaviour, Behaviour::HeldBriefly | Behaviour::Blocked),
        };
    }

    /// Bytes reach the kernel.
    pub(super) fn arrive(&mut self, bytes: u32, now: u64) {
        self.kernel += bytes;
        if self.kind.is_some() && bytes > 0 {
            self.arrived += u64::from(bytes);
            self.arrivals.push_back((self.arrived, now));
        }
    }

    /// Decodes whole frames, and pieces of payloads, until one is partial or is held.
    pub(super) fn decode(&mut self) -> Decoded {
        let mut decoded = Decoded::default();
        while self.frame.bytes > 0 && self.kept > 0 && !decoded.holds {
            let bytes = match self.frame.payload_bytes {
                0 if self.kept < self.frame.bytes => break,
                0 => self.frame.bytes,
                payload_bytes => payload_bytes.min(self.kept),
            };
            if std::mem::take(&mut self.frame.is_to_be_held) {
                decoded.holds = true;
                break;
            }
            self.consume(bytes);
            decoded.consumed += bytes;
            decoded.is_request_done |= self.advance_frame(bytes);
        }
        decoded
    }

    /// After a whole frame or a piece of a payload; whether the request is done.
    fn advance_frame(&mut self, bytes: u32) -> bool {
        if self.frame.payload_bytes > 0 {
            self.frame.payload_bytes -= bytes;
            if self.frame.payload_bytes > 0 {
                return false;
            }
        } else if self.behaviour == Behaviour::UploadInPieces {
            self.frame.payload_bytes = PAYLOAD_BYTES_MAX;
            return false;
        }
        self.frames_left = self.frames_left.saturating_sub(1);
        if self.kind.is_some() && self.frames_left == 0 {
            self.frame = Frame::default();
            return true;
        }
        self.next_frame();
        false
    }

    /// What was only looked at is not the host's any more.
    pub(super) fn leave_seen(&mut self) {
        self.kept -= std::mem::take(&mut self.seen);
    }

    fn consume(&mut self, bytes: u32) {
        self.kept -= bytes;
        self.seen = self.seen.min(self.kept);
        self.consumed += u64::from(bytes);
        while self.arrivals.front().is_some_and(|&(until, _)| until <= self.consumed) {
            self.arrivals.pop_front();
        }
    }

    /// What the decoder reports about what it left.
    pub(super) fn rest(&self) -> Rest {
        if self.kept == 0 {
            return Rest::Nothing;
        }
        if self.is_held {
            return Rest::Held;
        }
        let Frame { bytes, first_part_bytes, payload_bytes, .. } = self.frame;
        if payload_bytes > 0 {
            return Rest::Short { needed: 1, usable: payload_bytes };
        }
        let header = HEADER_BYTES.min(first_part_bytes);
        let known = [header, first_part_bytes, bytes].into_iter().find(|&known| self.kept < known);
        let needed = known.expect("a whole frame is decoded or held") - self.kept;
        Rest::Short { needed, usable: needed }
    }

    /// How many bytes the decoder could use at once, if it has consumed all, and knows that more are to come.
    pub(super) fn usable(&self) -> Option<u32> {
        Some(self.frame.payload_bytes).filter(|&bytes| bytes > 0 && self.kept == 0)
    }

    /// How many bytes the decoder needs in all, when it looks at the front of what the kernel has, and nothing is kept.
    pub(super) fn look(&self, bytes: u32) -> u32 {
        let Frame { bytes: whole, first_part_bytes, payload_bytes, .. } = self.frame;
        if payload_bytes > 0 {
            // It can do with less, but not with less than what is left in the kernel.
            return payload_bytes;
        }
        let header = HEADER_BYTES.min(first_part_bytes);
        [header, first_part_bytes].into_iter().find(|&known| bytes < known).unwrap_or(whole)
    }

    /// Whether the frame at the front has kept its time so far: `allowance_ns` from its first byte to its last.
    pub(super) fn is_in_time(&self, now: u64, allowance_ns: impl Fn(u32) -> u64) -> bool {
        let Some(&(_, first)) = self.arrivals.front() else {
            return true;
        };
        let bytes = if self.frame.payload_bytes > 0 { 1 } else { self.frame.bytes };
        let last = self.arrivals.iter().find(|&&(until, _)| until >= self.consumed + u64::from(bytes));
        last.map_or(now, |&(_, at)| at) <= first + allowance_ns(bytes)
    }
}
