//! HTTP/2 frames: this library beside libnghttp2 and the `h2` crate.
//!
//! The other decoders do more than frames and cannot leave it out. libnghttp2 has no decoder apart from its session
//! (`baseline/framing/nghttp2.c` lists what is turned off): it looks up streams, keeps account of windows and decodes
//! header blocks. `h2::Codec`, public with a feature that it calls unstable, decodes header blocks and reads by itself,
//! which copies; *copying alone* shows how much that is. So the frames are those that ask least of them: PING
//! acknowledgements and WINDOW_UPDATE of the connection, and DATA on a stream that is open. HEADERS are the exception,
//! where the other decoders do what this library leaves to its host.

use crate::support::Report;
use crate::{COPYING, Case, Counts, Decode, Error, PIECE_BYTES, Protocol, Way, processor_time};
use demuxbuf::framing::h2::{Decoder, FrameHeader, HEAD_BYTES, Next, PREFACE, Side, flags, kind};
use demuxbuf_ffi_tests::try_run;
use futures_core::Stream;
use h2::frame::Frame;
use std::io;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};

/// The client's settings, and the headers of a request on stream 1.
const PROLOGUE_FRAMES: u64 = 2;

/// `:method: GET`, `:scheme: http`, `:path: /` and `accept-encoding: gzip, deflate`, a byte for each.
const BLOCK: [u8; 4] = [0x82, 0x86, 0x84, 0x90];

pub(crate) fn protocol(report: &mut Report) -> Result<Protocol, Error> {
    let cases = vec![
        case("WINDOW_UPDATE, 9 + 4", kind::WINDOW_UPDATE, 4, |at| (at == 3) as u8),
        case("PING, 9 + 8", kind::PING, 8, |at| at as u8),
        case("DATA, 9 + 0", kind::DATA, 0, |_| 0),
        case("DATA, 9 + 64", kind::DATA, 64, |at| at as u8),
        case("HEADERS, 9 + 4", kind::HEADERS, 4, |at| BLOCK[at]),
        case("DATA, 9 + 16,384", kind::DATA, 16384, |at| at as u8),
    ];
    let mut ways =
        vec![Way::rust("(a) this library, Rust", "demuxbuf-http2"), Way::c("(b) this library, C", "demuxbuf", &[])];
    match try_run(Command::new("pkg-config").args(["--modversion", "libnghttp2"])) {
        Ok(version) => {
            report.fact("libnghttp2", version.trim());
            ways.push(Way::c("(c) libnghttp2", "nghttp2", &["-Wl,--no-as-needed", "-lnghttp2"]));
        }
        Err(_) => println!("skipped: what libnghttp2 costs, libnghttp2-dev or pkg-config is not installed"),
    }
    ways.extend([Way::rust("(d) h2", "h2"), Way::rust(COPYING, "copying")]);
    Ok(Protocol { cases, ways })
}

fn case(title: &'static str, kind: u8, length: u32, payload: fn(usize) -> u8) -> Case {
    let (flags, stream_id) = match kind {
        kind::PING => (flags::ACK, 0),
        kind::HEADERS => (flags::END_HEADERS, 1),
        kind::DATA => (0, 1),
        _ => (0, 0),
    };
    let payload: Vec<u8> = (0..length as usize).map(payload).collect();
    let each = Counts { frames: 1, payload_bytes: length.into(), content: content(kind, &payload) };
    let head = FrameHeader { length, stream_id, kind, flags };
    let frame = [head.encode().to_vec(), payload].concat();
    Case::new(title, format!("frames-{kind}-{length}"), prologue(), frame, each)
}

fn prologue() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(FrameHeader { kind: kind::SETTINGS, ..FrameHeader::default() }.encode());
    let (length, kind, flags) = (BLOCK.len() as u32, kind::HEADERS, flags::END_HEADERS);
    bytes.extend(FrameHeader { length, kind, flags, stream_id: 1 }.encode());
    bytes.extend(BLOCK);
    bytes
}

/// The same decoder as in `baseline/framing/demuxbuf.c`.
pub(crate) struct Host {
    decoder: Decoder,
    /// Of a frame of DATA that has begun.
    payload_left: usize,
    counts: Counts,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host { decoder: Decoder::new(Side::Client), payload_left: 0, counts: Counts::default() }
    }
}

impl Decode for Host {
    fn counts(&mut self) -> &mut Counts {
        &mut self.counts
    }

    fn decode(&mut self, data: &[u8]) -> Result<usize, Error> {
        let mut taken = 0;
        loop {
            let part = self.payload_left.min(data.len() - taken);
            self.payload_left -= part;
            taken += part;
            if self.payload_left > 0 {
                return Ok(taken);
            }
            let head = match self.decoder.advance(&data[taken..])? {
                Next::NeedMore(_) => return Ok(taken),
                Next::Preface => {
                    taken += PREFACE.len();
                    continue;
                }
                Next::Frame(head) => head,
            };
            let (payload, length) = (taken + HEAD_BYTES as usize, head.length as usize);
            if head.kind == kind::DATA {
                self.payload_left = length;
                self.counts.count(length, 0);
                taken = payload;
            } else {
                // DATA goes on as it comes, any other frame when it is whole.
                self.counts.count(length, content(head.kind, &data[payload..payload + length]));
                taken = payload + length;
            }
        }
    }
}

/// What only the payload has.
fn content(kind: u8, payload: &[u8]) -> u64 {
    match kind {
        kind::PING => u64::from_ne_bytes(*payload.first_chunk().expect("a PING has 8 bytes")),
        kind::WINDOW_UPDATE => u32::from_be_bytes(*payload.first_chunk().expect("an increment has 4 bytes")).into(),
        _ => 0,
    }
}

pub(crate) fn with_h2(prologue: &[u8], frames: &[u8], times: u32) -> Result<(Counts, Duration), Error> {
    // Its handshake reads the preface, not the codec.
    let pieces = Pieces { first: &prologue[PREFACE.len()..], frames, left: frames, times };
    let mut codec = h2::Codec::<_, &[u8]>::new(tokio::io::join(pieces, tokio::io::sink()));
    let mut next = || match Pin::new(&mut codec).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => frame.transpose().map_err(|error| Error::from(format!("h2: {error:?}"))),
        Poll::Pending => Err("there is always something to read".into()),
    };
    for _ in 0..PROLOGUE_FRAMES {
        next()?.ok_or("the prologue has more frames")?;
    }
    let mut counts = Counts::default();
    let begin = processor_time();
    while let Some(frame) = next()? {
        match frame {
            Frame::Data(data) => counts.count(data.payload().len(), 0),
            Frame::Ping(ping) => counts.count(ping.payload().len(), u64::from_ne_bytes(*ping.payload())),
            Frame::WindowUpdate(update) => counts.count(4, update.size_increment().into()),
            // It keeps no length of the block.
            Frame::Headers(_) => counts.count(BLOCK.len(), 0),
            other => return Err(format!("there is no such frame: {other:?}").into()),
        }
    }
    Ok((counts, processor_time() - begin))
}

/// The prologue, and then the frames, this many times.
struct Pieces<'a> {
    first: &'a [u8],
    frames: &'a [u8],
    left: &'a [u8],
    times: u32,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            buffer.put_slice(std::mem::take(&mut self.first));
            return Poll::Ready(Ok(()));
        }
        if self.left.is_empty() && self.times > 1 {
            (self.left, self.times) = (self.frames, self.times - 1);
        }
        let (piece, left) = self.left.split_at(self.left.len().min(buffer.remaining()).min(PIECE_BYTES));
        buffer.put_slice(piece);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}
