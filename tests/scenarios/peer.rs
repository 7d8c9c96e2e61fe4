//! What the host has of one peer.

use demuxbuf::connection::EndKind;
use demuxbuf::framing::h2::{Decoder, FrameHeader, Next, Side, flags, kind};
use demuxbuf::pool::ReceiverId;
use demuxbuf_testkit::Socket;

/// One peer, its transport and its decoder.
pub(crate) struct Peer {
    pub(crate) id: ReceiverId,
    pub(crate) socket: Socket,
    pub(crate) is_closing: bool,
    pub(crate) is_closed: bool,
    pub(crate) is_failed: bool,
    /// The pool had no place for it, so it was closed.
    pub(crate) is_shed: bool,
    pub(crate) decoder: Decoder,
    /// DATA is passed on as it arrives instead of frame by frame.
    pub(crate) passes_data: bool,
    /// What is left of a DATA frame that is being passed on.
    pub(crate) data_left: u32,
    /// The decoder takes one byte at a time, whatever it is, and needs one more.
    pub(crate) takes_bytes: bool,
    /// Frames decoded before the decoder yields.
    pub(crate) frames_per_run: usize,
    /// The decoder is blocked before each frame while this is set.
    pub(crate) is_blocked: bool,
    pub(crate) frames: Vec<FrameHeader>,
    pub(crate) ends: Vec<(EndKind, u32)>,
    pub(crate) misfits: usize,
    pub(crate) decodes: usize,
    pub(crate) receives: usize,
}

impl Peer {
    /// A peer on this transport; its first SETTINGS came before.
    pub(crate) fn new(id: ReceiverId, socket: Socket) -> Peer {
        let mut decoder = Decoder::new(Side::Server);
        decoder.accept(&Next::Frame(FrameHeader { kind: kind::SETTINGS, flags: flags::ACK, ..FrameHeader::default() }));
        Peer {
            id,
            socket,
            is_closing: false,
            is_closed: false,
            is_failed: false,
            is_shed: false,
            decoder,
            passes_data: false,
            data_left: 0,
            takes_bytes: false,
            frames_per_run: usize::MAX,
            is_blocked: false,
            frames: Vec::new(),
            ends: Vec::new(),
            misfits: 0,
            decodes: 0,
            receives: 0,
        }
    }

    /// Bytes the peer sent that were not decoded.
    pub(crate) fn undecoded(&self) -> usize {
        self.socket.undecoded()
    }

    /// The header of a DATA frame left with a buffer that was taken: this much of its payload is still to come.
    pub(crate) fn skip_data(&mut self, bytes: u32) {
        self.data_left = bytes;
    }

    /// Bytes taken from the front, or how many more are needed.
    pub(crate) fn decode_next(&mut self, data: &[u8]) -> Result<usize, u32> {
        if self.data_left > 0 {
            let bytes = data.len().min(self.data_left as usize);
            self.data_left -= bytes as u32;
            return Ok(bytes);
        }
        let next = self.decoder.peek(data).expect("the peer keeps the rules");
        let bytes = match &next {
            Next::NeedMore(missing) => return Err(*missing),
            Next::Preface => 24,
            Next::Frame(head) if self.passes_data && head.kind == kind::DATA => {
                self.data_left = head.length;
                9
            }
            Next::Frame(head) => {
                let missing = (head.frame_bytes() as usize).saturating_sub(data.len());
                if missing > 0 {
                    return Err(missing as u32);
                }
                head.frame_bytes() as usize
            }
        };
        self.decoder.accept(&next);
        if let Next::Frame(head) = next {
            self.frames.push(head);
        }
        Ok(bytes)
    }

    /// How many bytes the frame at the front has that are still in the kernel, of which these are the first.
    pub(crate) fn length_seen(&self, seen: &[u8]) -> u32 {
        let received = self.socket.buffered();
        let front = [received, seen].concat();
        let bytes = match self.decoder.peek(&front).expect("the peer keeps the rules") {
            Next::NeedMore(missing) => front.len() as u32 + missing,
            Next::Preface => 24,
            Next::Frame(head) => head.frame_bytes(),
        };
        bytes - received.len() as u32
    }
}
