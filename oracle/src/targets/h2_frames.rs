//! HTTP/2 frames: any bytes in any split, against the reference.

use super::reference::{self, End, Item};
use super::text::lines;
use demuxbuf::framing::h2::{Decoder, Error, FrameHeader, Next, Side};

/// `cut` has the pieces in which the bytes arrive, around and around; `skip` cuts bytes off the end.
pub(super) const EXAMPLES: &[&str] = &[
    "server",
    "limit 20000",
    "cut 1 9 100",
    "preface",
    "settings",
    "frame 0 0 1 5",
    "frame 1 44 3 16",
    "frame 9 4 1 0",
    "frame 5 12 1 30",
    "padded 0 8 1 10 9",
    "header 0 0 1 16384",
    "raw 0 0 0 4 0 0 0 0 0",
    "skip 3",
];

const BYTES_MAX: usize = 1 << 17;

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let mut input = Input { from_client: true, limit: 16_384, cuts: Vec::new(), bytes: Vec::new() };
    for line in lines(text) {
        match line.word {
            "server" => input.from_client = false,
            "limit" => input.limit = line.short(0),
            "cut" => input.cuts.extend(line.numbers().map(|bytes| bytes as usize)),
            "preface" => input.bytes.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            "settings" => input.bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]),
            "frame" | "header" | "padded" => {
                let (kind, flags, length) = (line.short(0) as u8, line.short(1) as u8, line.short(3));
                input.bytes.extend(&length.to_be_bytes()[1..]);
                input.bytes.extend([kind, flags]);
                input.bytes.extend(line.short(2).to_be_bytes());
                let payload = if line.word == "header" { 0 } else { length as usize % 20_000 };
                let start = input.bytes.len();
                input.bytes.resize(start + payload, 0);
                if let (true, Some(pad)) = (line.word == "padded", input.bytes.get_mut(start)) {
                    *pad = line.short(4) as u8;
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
    from_client: bool,
    limit: u32,
    cuts: Vec<usize>,
    bytes: Vec<u8>,
}

impl Input {
    fn check(&self) -> Result<(), String> {
        let mut decoder = Decoder::new(if self.from_client { Side::Client } else { Side::Server });
        let is_allowed = (16_384..=16_777_215).contains(&self.limit);
        if decoder.set_max_frame_size(self.limit).is_ok() != is_allowed {
            return Err(format!("a limit of {} is judged wrongly", self.limit));
        }
        let limit = if is_allowed { self.limit } else { 16_384 };
        let (items, end) = reference::decode(&self.bytes, self.from_client, limit as usize);
        let mut reader =
            Reader { decoder, held: Vec::new(), items: Vec::new(), passed: 0, broken: None, missing: 0, needs: 0 };
        let mut left = self.bytes.as_slice();
        let mut cuts = self.cuts.iter().copied().filter(|&bytes| bytes > 0).cycle();
        while !left.is_empty() && reader.broken.is_none() {
            let piece = cuts.next().unwrap_or(left.len()).min(left.len());
            reader.arrive(&left[..piece])?;
            left = &left[piece..];
        }
        if self.bytes.is_empty() {
            reader.arrive(&[])?;
        }
        if reader.items != items {
            return Err(format!("read {:?}, expected {items:?}", reader.items));
        }
        match (&end, reader.broken) {
            (End::Broken(codes), Some(code)) if codes.contains(&code) => Ok(()),
            (&End::Partial { bytes, missing }, None)
                if (bytes, missing) == (reader.held.len(), reader.missing as usize) =>
            {
                Ok(())
            }
            (_, seen) => Err(format!(
                "ended with {seen:?}, {} bytes held and {} missing; expected {end:?}",
                reader.held.len(),
                reader.missing
            )),
        }
    }
}

/// A host that reads frames: it keeps a partial frame, as a receive buffer does.
struct Reader {
    decoder: Decoder,
    held: Vec<u8>,
    items: Vec<Item>,
    /// Whether the item at the front is in `items` already, and if so which length it has.
    passed: usize,
    broken: Option<u32>,
    missing: u32,
    /// How many bytes the decoder asked for before it answers.
    needs: u32,
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

    /// Takes what is at the front; returns whether there may be more.
    fn step(&mut self) -> Result<bool, String> {
        if self.passed > 0 {
            return Ok(self.take());
        }
        let found = self.decoder.peek(&self.held);
        if found != self.decoder.peek(&self.held) {
            return Err("asked again, the decoder answers something else".into());
        }
        self.advance_agrees(&found)?;
        match found {
            Ok(Next::NeedMore(missing)) => {
                (self.missing, self.needs) = (missing, missing);
                return Ok(false);
            }
            Ok(Next::Preface) => {
                self.items.push(Item::Preface);
                self.passed = 24;
            }
            Ok(Next::Frame(head)) => return self.frame(head),
            Err(Error { code, stream_id: 0, frame_bytes: 0, .. }) => {
                self.broken = Some(code as u32);
                return Ok(false);
            }
            Err(Error { code, stream_id, frame_bytes, rule, .. }) => {
                if code as u32 != 6 {
                    return Err(format!("an error of a stream with code {code:?}: {rule}"));
                }
                self.items.push(Item::StreamError(stream_id, frame_bytes as usize));
                self.passed = frame_bytes as usize;
            }
        }
        self.accept(found);
        Ok(self.take())
    }

    /// Whether one call finds and accepts what two calls do, where the frame is whole or DATA.
    fn advance_agrees(&self, found: &Result<Next, Error>) -> Result<(), String> {
        let (mut advanced, mut expected) = (self.decoder, self.decoder);
        let mut answer = *found;
        if let Ok(Next::Frame(head)) = found {
            let missing = (head.frame_bytes() as usize).saturating_sub(self.held.len());
            if head.kind != 0 && missing > 0 {
                answer = Ok(Next::NeedMore(missing as u32));
            }
        }
        if let Ok(next) = &answer {
            expected.accept(next);
        }
        let agrees = advanced.advance(&self.held) == answer && advanced == expected;
        if agrees { Ok(()) } else { Err(format!("advance disagrees with peek and accept: {found:?}")) }
    }

    fn accept(&mut self, found: Result<Next, Error>) {
        if let Ok(next) = found {
            self.decoder.accept(&next);
        }
    }

    fn frame(&mut self, head: FrameHeader) -> Result<bool, String> {
        if head.encode()[..5] != self.held[..5] {
            return Err(format!("{head:?} is not what it was read from"));
        }
        let pad = self.held.get(9).copied().filter(|_| head.is_padded());
        if head.is_padded() && pad.is_none() {
            // The host waits for the pad length before it takes the frame for good.
            self.missing = 9 + head.length - self.held.len() as u32;
            return Ok(false);
        }
        if let Some(Err(error)) = pad.map(|pad| head.check_padding(pad)) {
            self.broken = Some(error.code as u32);
            return Ok(false);
        }
        self.items.push(Item::Frame(head.kind, head.flags, head.stream_id, head.length as usize));
        self.passed = head.frame_bytes() as usize;
        self.accept(Ok(Next::Frame(head)));
        Ok(self.take())
    }

    /// Drops the item at the front once it is whole.
    fn take(&mut self) -> bool {
        let is_whole = self.held.len() >= self.passed;
        if is_whole {
            self.held.drain(..self.passed);
            (self.passed, self.missing) = (0, 0);
        } else {
            self.missing = (self.passed - self.held.len()) as u32;
        }
        is_whole
    }
}
