//! FastCGI records, as a web server sends them: this library in Rust and through C. libfcgi has no decoder apart from
//! its requests, and reads one at a time from a socket.

use crate::{COPYING, Case, Counts, Decode, Error, Protocol, Way};
use demuxbuf::framing::fcgi::{Decoder, Form, HEAD_BYTES, Next, RecordHeader, Side, kind};

pub(crate) fn protocol() -> Protocol {
    let cases = vec![
        case("BEGIN_REQUEST, 8 + 8", kind::BEGIN_REQUEST, 8, 0),
        case("STDIN, 8 + 0", kind::STDIN, 0, 0),
        case("PARAMS, 8 + 64", kind::PARAMS, 64, 0),
        case("STDIN, 8 + 61 and 3 of padding", kind::STDIN, 61, 3),
        case("STDIN, 8 + 16,384", kind::STDIN, 16384, 0),
    ];
    let ways = vec![
        Way::rust("(a) this library, Rust", "demuxbuf-fastcgi"),
        Way::c("(b) this library, C", "demuxbuf_fcgi", &[]),
        Way::rust(COPYING, "copying"),
    ];
    Protocol { cases, ways }
}

fn case(title: &'static str, kind: u8, content_length: u16, padding_length: u8) -> Case {
    let head = RecordHeader { content_length, request_id: 1, kind, padding_length };
    let content: Vec<u8> = (0..content_length).map(|at| at as u8).collect();
    let sum = if kind == kind::BEGIN_REQUEST { body(&content) } else { 0 };
    let each = Counts { frames: 1, payload_bytes: content_length.into(), content: sum };
    let frame = [head.encode().to_vec(), content, vec![0; padding_length.into()]].concat();
    Case::new(title, format!("records-{kind}-{content_length}"), Vec::new(), frame, each)
}

/// The same decoder as in `baseline/framing/demuxbuf_fcgi.c`.
pub(crate) struct Host {
    decoder: Decoder,
    /// Content and padding of a record that has begun.
    left: usize,
    counts: Counts,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host { decoder: Decoder::new(Side::WebServer), left: 0, counts: Counts::default() }
    }
}

impl Decode for Host {
    fn counts(&mut self) -> &mut Counts {
        &mut self.counts
    }

    fn decode(&mut self, data: &[u8]) -> Result<usize, Error> {
        let mut taken = 0;
        loop {
            let part = self.left.min(data.len() - taken);
            self.left -= part;
            taken += part;
            if self.left > 0 {
                return Ok(taken);
            }
            let head = match self.decoder.peek_whole(&data[taken..])? {
                Next::NeedMore(_) => return Ok(taken),
                Next::Record(head) => head,
            };
            taken += HEAD_BYTES as usize;
            self.left = usize::from(head.content_length) + usize::from(head.padding_length);
            // A discrete record is whole, all others go on as they come.
            let content = if head.form() == Form::Discrete { body(&data[taken..]) } else { 0 };
            self.counts.count(head.content_length.into(), content);
        }
    }
}

/// The eight bytes of a BEGIN_REQUEST.
fn body(content: &[u8]) -> u64 {
    u64::from_ne_bytes(*content.first_chunk().expect("a BEGIN_REQUEST has 8 bytes"))
}
