//! FastCGI records: any bytes in any split, against the reference.

use super::fcgi_reference::{self as reference, End, Item, Rule, Take};
use super::text::lines;
use demuxbuf::framing::fcgi::{Decoder, Error, ErrorCode, Form, Next, RecordHeader, Side};

/// `cut` has the pieces in which the bytes arrive, around and around; `skip` cuts bytes off the end.
pub(super) const EXAMPLES: &[&str] = &[
    "application",
    "limit 271",
    "cut 1 9 100",
    "record 1 1 8 0",
    "record 4 1 300 4",
    "record 4 1 0 8",
    "record 5 2 65535 255",
    "record 2 1 0 0",
    "record 9 0 48 0",
    "record 12 0 5 3",
    "record 6 1 17 7",
    "record 3 1 8 0",
    "record 11 0 8 0",
    "header 9 0 65535 0",
    "raw 1 5 0 1 0 0 0 0",
    "skip 3",
];

const BYTES_MAX: usize = 1 << 18;

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let mut input = Input { from_web_server: true, limit: 16_448, cuts: Vec::new(), bytes: Vec::new() };
    for line in lines(text) {
        match line.word {
            "application" => input.from_web_server = false,
            "limit" => input.limit = line.short(0),
            "cut" => input.cuts.extend(line.numbers().map(|bytes| bytes as usize)),
            "record" | "header" => {
                let (kind, padding) = (line.short(0) as u8, line.short(3) as u8);
                let (request, length) = (line.short(1) as u16, line.short(2) as u16);
                let ([id1, id0], [length1, length0]) = (request.to_be_bytes(), length.to_be_bytes());
                input.bytes.extend([1, kind, id1, id0, length1, length0, padding, 0]);
                if line.word == "record" {
                    // Numbered, so that a misplaced byte shows.
                    let rest = usize::from(length) + usize::from(padding);
                    input.bytes.extend((0..rest).map(|at| (at % 251) as u8));
                }
            }
            "raw" => input.bytes.extend(line.numbers().map(|byte| byte as u8)),
            "skip" => input.bytes.truncate(input.bytes.len().saturating_sub(line.short(0) as usize)),
            _ => {}
        }
        input.bytes.truncate(BYTES_MAX);
    }
    input.check()
}

struct Input {
    from_web_server: bool,
    limit: u32,
    cuts: Vec<usize>,
    bytes: Vec<u8>,
}

impl Input {
    fn check(&self) -> Result<(), String> {
        let mut decoder = Decoder::new(if self.from_web_server { Side::WebServer } else { Side::Application });
        let is_allowed = (271..=65_798).contains(&self.limit);
        if decoder.set_max_discrete_bytes(self.limit).is_ok() != is_allowed {
            return Err(format!("a limit of {} is judged wrongly", self.limit));
        }
        let limit = if is_allowed { self.limit as usize } else { 16_448 };
        let (items, end) = reference::decode(&self.bytes, self.from_web_server, limit);
        let mut reader = Reader {
            decoder,
            room: limit,
            held: Vec::new(),
            items: Vec::new(),
            rest: Rest::default(),
            broken: None,
            needs: 0,
        };
        let mut left = self.bytes.as_slice();
        let mut cuts = self.cuts.iter().copied().filter(|&bytes| bytes > 0).cycle();
        while !left.is_empty() && reader.broken.is_none() {
            let piece = cuts.next().unwrap_or(left.len()).min(left.len()).min(reader.room - reader.held.len());
            if piece == 0 {
                return Err(format!("a buffer of {limit} bytes is full, and nothing can be taken from it"));
            }
            reader.arrive(&left[..piece])?;
            left = &left[piece..];
        }
        if self.bytes.is_empty() {
            reader.arrive(&[])?;
        }
        if let Some(at) = (0..items.len().max(reader.items.len())).find(|&at| items.get(at) != reader.items.get(at)) {
            return Err(format!("item {at}: read {:?}, expected {:?}", reader.items.get(at), items.get(at)));
        }
        match (&end, reader.broken) {
            (End::Broken(rules), Some(rule)) if rules.contains(&rule) => Ok(()),
            (&End::Partial { bytes, missing }, None) if (bytes, missing) == (reader.held.len(), reader.missing()) => {
                Ok(())
            }
            (_, seen) => Err(format!(
                "ended with {seen:?}, {} bytes held and {} missing; expected {end:?}",
                reader.held.len(),
                reader.missing()
            )),
        }
    }
}

/// A host that reads records: of what must be whole it keeps a part, as a receive buffer does; all other content it
/// takes as it comes.
struct Reader {
    decoder: Decoder,
    room: usize,
    held: Vec<u8>,
    items: Vec<Item>,
    rest: Rest,
    broken: Option<Rule>,
    /// How many bytes the decoder asked for before it finds a record.
    needs: u32,
}

/// What follows of the record that has begun.
#[derive(Default)]
struct Rest {
    content: usize,
    padding: usize,
}

impl Reader {
    fn arrive(&mut self, bytes: &[u8]) -> Result<(), String> {
        let needs = std::mem::take(&mut self.needs);
        self.held.extend_from_slice(bytes);
        let before = self.items.len();
        while self.broken.is_none() && self.step()? {}
        if bytes.len() < needs as usize && self.items.len() > before {
            return Err(format!("{needs} bytes were needed, and {} were enough", bytes.len()));
        }
        Ok(())
    }

    fn missing(&self) -> usize {
        self.rest.content + self.rest.padding + self.needs as usize
    }

    /// Takes what is at the front; returns whether there may be more.
    fn step(&mut self) -> Result<bool, String> {
        self.take_rest();
        if self.rest.content + self.rest.padding > 0 {
            return Ok(false);
        }
        let found = self.decoder.peek_whole(&self.held);
        self.peek_agrees(&found)?;
        match found {
            Ok(Next::NeedMore(missing)) => {
                self.needs = missing;
                return Ok(false);
            }
            Ok(Next::Record(head)) => self.begin(head)?,
            Err(Error { code, record_bytes: 0, .. }) => {
                self.broken = Some(match code {
                    ErrorCode::Version => Rule::Version,
                    ErrorCode::Direction => Rule::Direction,
                    ErrorCode::RequestId => Rule::Request,
                    other => return Err(format!("{other:?} is no error of a connection")),
                });
                return Ok(false);
            }
            Err(Error { code: ErrorCode::ContentLength | ErrorCode::TooLong, request_id, record_bytes, .. }) => {
                self.items.push(Item::Refused(request_id, record_bytes as usize));
                self.held.drain(..8);
                self.rest.padding = record_bytes as usize - 8;
            }
            Err(error) => return Err(format!("{error:?} is no error of one record")),
        }
        Ok(true)
    }

    /// Whether the header alone is judged as the whole record is.
    fn peek_agrees(&self, found: &Result<Next, Error>) -> Result<(), String> {
        let seen = self.decoder.peek(&self.held);
        let agrees = match (&seen, found) {
            (Ok(Next::Record(head)), &Ok(Next::NeedMore(missing))) => {
                head.form() == Form::Discrete && head.record_bytes() as usize == self.held.len() + missing as usize
            }
            _ => seen == *found,
        };
        if agrees { Ok(()) } else { Err(format!("peek found {seen:?}, peek_whole {found:?}")) }
    }

    fn begin(&mut self, head: RecordHeader) -> Result<(), String> {
        let mut read = head.encode();
        read[7] = self.held[7]; // It is reserved.
        if read != self.held[..8] {
            return Err(format!("{head:?} is not what it was read from"));
        }
        let take = match head.form() {
            Form::Discrete => Take::Whole,
            Form::Stream => Take::Pieces,
            Form::StreamEnd => Take::End,
            Form::Unknown => Take::Unknown,
        };
        let (length, padding) = (usize::from(head.content_length), usize::from(head.padding_length));
        if take == Take::Whole && self.held.len() < 8 + length + padding {
            return Err(format!("{head:?} was found before it is whole"));
        }
        let (kind, request) = (head.kind, head.request_id);
        self.items.push(Item::Record { kind, request, take, content: Vec::new(), length, padding });
        self.held.drain(..8);
        self.rest = Rest { content: length, padding };
        Ok(())
    }

    fn take_rest(&mut self) {
        let piece = self.rest.content.min(self.held.len());
        if let Some(Item::Record { content, .. }) = self.items.last_mut() {
            content.extend(self.held.drain(..piece));
            self.rest.content -= piece;
        }
        let skipped = self.rest.padding.min(self.held.len());
        self.held.drain(..skipped);
        self.rest.padding -= skipped;
    }
}
