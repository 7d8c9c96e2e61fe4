//! FastCGI records: the header, and the rules of the FastCGI specification 1.0 that a header alone can break.
//!
//! [`Decoder::peek`] finds a record as soon as the eight bytes of its header have arrived. [`Decoder::peek_whole`] is
//! for hosts that take streams in pieces and every discrete record whole. A record is judged by its header, so one that
//! is too long or out of place is refused before its content arrives. The rules that are checked, with their sections:
//!
//! | rule | error | specification |
//! |---|---|---|
//! | the version is 1 | [`Version`](ErrorCode::Version) | 3.3, 8 |
//! | the web server sends GET_VALUES, BEGIN_REQUEST, ABORT_REQUEST, PARAMS, STDIN and DATA, the application all others | [`Direction`](ErrorCode::Direction) | A |
//! | GET_VALUES, GET_VALUES_RESULT and UNKNOWN_TYPE have request id 0 | [`RequestId`](ErrorCode::RequestId) | 3.3, A |
//! | records of all other types have the id of a request, which is not 0 | [`RequestId`](ErrorCode::RequestId) | 3.3, A |
//! | BEGIN_REQUEST, END_REQUEST and UNKNOWN_TYPE have 8 bytes of content | [`ContentLength`](ErrorCode::ContentLength) | 4.2, 5.1, 5.5 |
//! | ABORT_REQUEST has none | [`ContentLength`](ErrorCode::ContentLength) | 5.4 |
//! | a discrete record is not longer than the host takes ([`Decoder::set_max_discrete_bytes`]) | [`TooLong`](ErrorCode::TooLong) | |
//!
//! The first three are errors of the connection: close it. Behind a record that breaks one of the others the next
//! record is in place ([`Error::record_bytes`]). The specification has no error code that a peer could be sent.
//!
//! # What the host does with a record
//!
//! | [`RecordHeader::form`] | content | the host |
//! |---|---|---|
//! | [`Discrete`](Form::Discrete) | whole with `peek_whole` | reads it |
//! | [`Stream`](Form::Stream) | in pieces | passes on what is there, and skips the padding |
//! | [`StreamEnd`](Form::StreamEnd) | none | ends the stream, and skips the padding |
//! | [`Unknown`](Form::Unknown) | in pieces | skips the record; an application answers one of request id 0 with UNKNOWN_TYPE (4.2) |
//!
//! A record is up to 65,798 bytes long, more than a buffer of the default size. So only what must be whole is limited.
//! A host that has passed on a part of a stream's record needs one more byte to go on.
//!
//! # What is not checked
//!
//! A decoder knows one record at a time, and no requests: which ids are active, whether streams end and in which order
//! they come, roles, and what is in the content. The host has a table of its requests. It ignores records of an
//! inactive id, except BEGIN_REQUEST (3.3).
//!
//! # Example
//!
//! What an application does with the records of a web server:
//!
//! ```
//! use demuxbuf::framing::fcgi::{Decoder, Error, Form, HEAD_BYTES, Next, RecordHeader, Side, kind};
//!
//! /// Returns the number of bytes that were consumed, and of those that are missing until decoding can go on.
//! fn decode(decoder: &Decoder, data: &[u8], rest: &mut u32) -> Result<(usize, u32), Error> {
//!     let mut at = 0;
//!     loop {
//!         // Of a record that has begun: here content is skipped, as padding is.
//!         let piece = (*rest as usize).min(data.len() - at);
//!         (at, *rest) = (at + piece, *rest - piece as u32);
//!         if *rest > 0 {
//!             return Ok((at, 1));
//!         }
//!         let head = match decoder.peek_whole(&data[at..])? {
//!             Next::NeedMore(bytes) => return Ok((at, bytes)),
//!             Next::Record(head) => head,
//!         };
//!         match head.form() {
//!             Form::Discrete => println!("{}: {:?}", head.kind, &data[at + 8..][..head.content_length.into()]),
//!             Form::Unknown if head.request_id == 0 => {
//!                 let (kind, content_length) = (kind::UNKNOWN_TYPE, 8);
//!                 let answer = RecordHeader { kind, content_length, ..RecordHeader::default() };
//!                 println!("{:?}", [answer.encode(), [head.kind, 0, 0, 0, 0, 0, 0, 0]].concat());
//!             }
//!             _ => println!("{} of request {}: {} bytes", head.kind, head.request_id, head.content_length),
//!         }
//!         at += HEAD_BYTES as usize;
//!         *rest = head.record_bytes() - HEAD_BYTES;
//!     }
//! }
//!
//! let begin = [1, 1, 0, 7, 0, 8, 0, 0, /* responder */ 0, 1, 0, 0, 0, 0, 0, 0];
//! let part_of_params = [1, 4, 0, 7, 1, 0, 8, 0, /* of 256 bytes and 8 of padding */ b'a', b'b'];
//! let (decoder, mut rest) = (Decoder::new(Side::WebServer), 0);
//! assert_eq!(decode(&decoder, &[&begin[..], &part_of_params].concat(), &mut rest), Ok((26, 1)));
//! assert_eq!(rest, 254 + 8);
//! ```

use crate::config_error::{ConfigError, in_range};
use core::fmt;

/// Length of a record's header (section 8).
pub const HEAD_BYTES: u32 = 8;
/// The largest record: header, content and padding (section 3.3).
pub const RECORD_BYTES_MAX: u32 = HEAD_BYTES + 65_535 + 255;
/// The smallest limit on discrete records: one with 8 bytes of content and the longest padding.
pub const MAX_DISCRETE_BYTES_MIN: u32 = HEAD_BYTES + 8 + 255;
/// The limit on discrete records at the start: what a buffer of the default size holds.
pub const MAX_DISCRETE_BYTES_DEFAULT: u32 = 16_448;

const VERSION: u8 = 1;

/// Types of records (section 8).
pub mod kind {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const BEGIN_REQUEST: u8 = 1;
    pub const ABORT_REQUEST: u8 = 2;
    pub const END_REQUEST: u8 = 3;
    pub const PARAMS: u8 = 4;
    pub const STDIN: u8 = 5;
    pub const STDOUT: u8 = 6;
    pub const STDERR: u8 = 7;
    pub const DATA: u8 = 8;
    pub const GET_VALUES: u8 = 9;
    pub const GET_VALUES_RESULT: u8 = 10;
    pub const UNKNOWN_TYPE: u8 = 11;
}

/// The kind of rule that a header breaks. The numbers are this library's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum ErrorCode {
    /// The version is not 1, so the other fields may mean something else.
    Version = 1,
    /// Only the other side sends records of this type.
    Direction = 2,
    /// A management record with the id of a request, or a record of a request without one.
    RequestId = 3,
    /// The content is shorter or longer than that of this type.
    ContentLength = 4,
    /// A discrete record is longer than the host takes.
    TooLong = 5,
}

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    /// The kind of rule.
    pub code: ErrorCode,
    /// The request that it is an error of; 0 for the connection, or for a management record if `record_bytes` is not 0.
    pub request_id: u16,
    /// Length of the record with its header and padding, in bytes, if the others go on behind it. 0 for an error of the
    /// connection.
    pub record_bytes: u32,
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
    /// The web server, to an application.
    WebServer,
    /// The application, to a web server: a responder, authorizer or filter.
    Application,
}

/// How the content of a record is taken (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// One unit, which is taken whole.
    Discrete = 0,
    /// A part of a stream, which is taken in pieces.
    Stream = 1,
    /// The empty record that ends a stream.
    StreamEnd = 2,
    /// A type that the specification does not have.
    Unknown = 3,
}

/// The header of a record. The version is not part of it: it is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHeader {
    /// Length of the content, in bytes.
    pub content_length: u16,
    /// Request; 0 for a management record.
    pub request_id: u16,
    /// Type; see [`kind`].
    pub kind: u8,
    /// Length of the padding behind the content, in bytes.
    pub padding_length: u8,
}

/// What stands at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At least this number of further bytes is missing.
    NeedMore(u32),
    /// A record that may stand here.
    Record(RecordHeader),
}

/// Finds and judges the records that one side sends: a small value, the same at every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    side: Side,
    max_discrete_bytes: u32,
}

impl RecordHeader {
    /// The header of these eight bytes. The version and the reserved byte are ignored; a [`Decoder`] checks the
    /// version.
    pub const fn decode(bytes: &[u8; 8]) -> RecordHeader {
        let [_version, kind, id1, id0, length1, length0, padding_length, _reserved] = *bytes;
        RecordHeader {
            content_length: u16::from_be_bytes([length1, length0]),
            request_id: u16::from_be_bytes([id1, id0]),
            kind,
            padding_length,
        }
    }

    /// The eight bytes of this header, of version 1.
    pub const fn encode(&self) -> [u8; 8] {
        let [id1, id0] = self.request_id.to_be_bytes();
        let [length1, length0] = self.content_length.to_be_bytes();
        [VERSION, self.kind, id1, id0, length1, length0, self.padding_length, 0]
    }

    /// Length of the whole record with its header and padding, in bytes.
    pub const fn record_bytes(&self) -> u32 {
        HEAD_BYTES + self.content_length as u32 + self.padding_length as u32
    }

    /// How the content is taken.
    pub const fn form(&self) -> Form {
        match self.record_type().form {
            Form::Stream if self.content_length == 0 => Form::StreamEnd,
            form => form,
        }
    }

    const fn record_type(&self) -> &'static RecordType {
        // Without `usize::min`, which is not const.
        &RECORD_TYPES[if self.kind <= kind::UNKNOWN_TYPE { self.kind as usize } else { 0 }]
    }
}

impl Decoder {
    /// A decoder for the records that this side sends.
    pub const fn new(side: Side) -> Decoder {
        Decoder { side, max_discrete_bytes: MAX_DISCRETE_BYTES_DEFAULT }
    }

    /// Sets the largest discrete record that the host takes, with its header and padding, in bytes: the size of its
    /// buffer. Only GET_VALUES and GET_VALUES_RESULT can be longer than the smallest limit. Streams are not limited.
    ///
    /// # Errors
    ///
    /// Not from [`MAX_DISCRETE_BYTES_MIN`] to [`RECORD_BYTES_MAX`]; nothing is changed.
    pub const fn set_max_discrete_bytes(&mut self, bytes: u32) -> Result<(), ConfigError> {
        let (min, max) = (MAX_DISCRETE_BYTES_MIN as u64, RECORD_BYTES_MAX as u64);
        if let Err(error) = in_range("max_discrete_bytes", bytes as u64, min, max) {
            return Err(error);
        }
        self.max_discrete_bytes = bytes;
        Ok(())
    }

    /// Looks at the front of what is buffered: a record is found once its header is there.
    ///
    /// # Errors
    ///
    /// The header at the front breaks a rule; the module's table lists the rules that are checked.
    pub fn peek(&self, data: &[u8]) -> Result<Next, Error> {
        match data.first_chunk::<8>() {
            None => Ok(Next::NeedMore(HEAD_BYTES - data.len() as u32)),
            Some(bytes) => {
                let head = RecordHeader::decode(bytes);
                self.check(bytes[0], &head)?;
                Ok(Next::Record(head))
            }
        }
    }

    /// As [`Decoder::peek`], but a discrete record is found once it is whole, with its padding; `NeedMore` counts the
    /// bytes that are missing until then.
    ///
    /// Cost: O(1); of a record that is found, one look at a table.
    ///
    /// # Errors
    ///
    /// As [`Decoder::peek`].
    #[inline]
    pub fn peek_whole(&self, data: &[u8]) -> Result<Next, Error> {
        match self.find_whole(data) {
            Some(head) => Ok(Next::Record(head)),
            None => self.peek_partial(data),
        }
    }

    /// The record at the front, if it breaks no rule and is whole, or is taken in pieces.
    ///
    /// Public for the C layer, whose fast path it is.
    #[doc(hidden)]
    #[inline(always)]
    pub fn find_whole(&self, data: &[u8]) -> Option<RecordHeader> {
        let bytes = data.first_chunk::<8>()?;
        let head = RecordHeader::decode(bytes);
        let of_type = head.record_type();
        let length = head.content_length;
        let (whole, room) = (head.record_bytes() as usize, data.len().min(self.max_discrete_bytes as usize));
        // Each a comparison and a branch that is hardly ever taken: less than to compute all and branch once.
        let is_allowed = bytes[0] == VERSION
            && of_type.places & place(self.side, head.request_id) != 0
            && length.wrapping_sub(of_type.length_min) <= of_type.length_max.wrapping_sub(of_type.length_min)
            && (of_type.form != Form::Discrete || whole <= room);
        is_allowed.then_some(head)
    }

    /// What `find_whole` does not find: the record is not whole, or breaks a rule.
    #[inline(never)]
    fn peek_partial(&self, data: &[u8]) -> Result<Next, Error> {
        self.peek(data).map(|next| match next {
            Next::Record(head) => Next::NeedMore(head.record_bytes() - data.len() as u32),
            partial => partial,
        })
    }

    /// The decoder as two numbers, for C: all zero is one for a web server's records.
    #[doc(hidden)]
    pub fn to_words(self) -> [u32; 2] {
        [self.side as u32, self.max_discrete_bytes.wrapping_sub(MAX_DISCRETE_BYTES_DEFAULT)]
    }

    /// The decoder that the two numbers of `to_words` describe; `None` if they describe none.
    #[doc(hidden)]
    #[inline(always)]
    pub fn from_words([side, above_default]: [u32; 2]) -> Option<Decoder> {
        let side = match side {
            0 => Side::WebServer,
            1 => Side::Application,
            _ => return None,
        };
        let max_discrete_bytes = above_default.wrapping_add(MAX_DISCRETE_BYTES_DEFAULT);
        let is_allowed = (MAX_DISCRETE_BYTES_MIN..=RECORD_BYTES_MAX).contains(&max_discrete_bytes);
        is_allowed.then_some(Decoder { side, max_discrete_bytes })
    }

    fn check(&self, version: u8, head: &RecordHeader) -> Result<(), Error> {
        let of_type = head.record_type();
        connection_rule(version == VERSION, ErrorCode::Version, "the version is 1 (3.3, 8)")?;
        let any_id = place(self.side, 0) | place(self.side, 1);
        connection_rule(of_type.places & any_id != 0, ErrorCode::Direction, "only the other side sends this type (A)")?;
        let is_in_place = of_type.places & place(self.side, head.request_id) != 0;
        let rule = match head.request_id {
            0 => "the record belongs to a request (3.3, A)",
            _ => "a management record belongs to no request (3.3, A)",
        };
        connection_rule(is_in_place, ErrorCode::RequestId, rule)?;
        let has_its_length = (of_type.length_min..=of_type.length_max).contains(&head.content_length);
        record_rule(has_its_length, ErrorCode::ContentLength, head, of_type.length_rule)?;
        let fits_the_limit = of_type.form != Form::Discrete || head.record_bytes() <= self.max_discrete_bytes;
        record_rule(fits_the_limit, ErrorCode::TooLong, head, "a discrete record is longer than the host takes")
    }
}

/// What the header of a record of one type looks like.
#[derive(Clone, Copy)]
struct RecordType {
    length_min: u16,
    length_max: u16,
    /// The bits of `place` of the records that there are.
    places: u8,
    form: Form,
    length_rule: &'static str,
}

/// A bit for the side that sends a record, and whether it belongs to a request.
const fn place(side: Side, request_id: u16) -> u8 {
    1 << (2 * side as u8 + (request_id != 0) as u8)
}

/// A row for each type; number 0, which is none, stands for all that are unknown.
const RECORD_TYPES: [RecordType; 12] = {
    const fn discrete(places: u8, length_min: u16, length_max: u16, length_rule: &'static str) -> RecordType {
        RecordType { length_min, length_max, places, form: Form::Discrete, length_rule }
    }
    const fn in_pieces(places: u8, form: Form) -> RecordType {
        RecordType { length_min: 0, length_max: u16::MAX, places, form, length_rule: "" }
    }
    let to_application = [place(Side::WebServer, 0), place(Side::WebServer, 1)];
    let to_web_server = [place(Side::Application, 0), place(Side::Application, 1)];
    let anywhere = to_application[0] | to_application[1] | to_web_server[0] | to_web_server[1];
    let input = in_pieces(to_application[1], Form::Stream);
    let output = in_pieces(to_web_server[1], Form::Stream);
    [
        in_pieces(anywhere, Form::Unknown),
        discrete(to_application[1], 8, 8, "BEGIN_REQUEST has 8 bytes of content (5.1)"),
        discrete(to_application[1], 0, 0, "ABORT_REQUEST has no content (5.4)"),
        discrete(to_web_server[1], 8, 8, "END_REQUEST has 8 bytes of content (5.5)"),
        input,                                        // PARAMS
        input,                                        // STDIN
        output,                                       // STDOUT
        output,                                       // STDERR
        input,                                        // DATA
        discrete(to_application[0], 0, u16::MAX, ""), // GET_VALUES
        discrete(to_web_server[0], 0, u16::MAX, ""),  // GET_VALUES_RESULT
        discrete(to_web_server[0], 8, 8, "UNKNOWN_TYPE has 8 bytes of content (4.2)"),
    ]
};

fn connection_rule(holds: bool, code: ErrorCode, rule: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error { code, request_id: 0, record_bytes: 0, rule }) }
}

/// A rule of one record, which the others do not depend on.
fn record_rule(holds: bool, code: ErrorCode, head: &RecordHeader, rule: &'static str) -> Result<(), Error> {
    let (request_id, record_bytes) = (head.request_id, head.record_bytes());
    if holds { Ok(()) } else { Err(Error { code, request_id, record_bytes, rule }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every type, both sides, with and without a request, lengths around every limit, whole and in part: what
    /// `find_whole` finds is what the rules let through, and `peek_whole` waits for the rest.
    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes, and has no unsafe code
    fn find_whole_equals_check() {
        let lengths = [0, 1, 7, 8, 9, 255, 256, 263, 264, 400, 65_534, 65_535];
        let data = vec![0; RECORD_BYTES_MAX as usize];
        let mut found = 0;
        for side in [Side::WebServer, Side::Application] {
            for max_discrete_bytes in [MAX_DISCRETE_BYTES_MIN, MAX_DISCRETE_BYTES_DEFAULT, RECORD_BYTES_MAX] {
                let decoder = Decoder { side, max_discrete_bytes };
                for (kind, request_id, version) in headers() {
                    for (content_length, padding_length) in lengths.into_iter().flat_map(|all| [(all, 0), (all, 255)]) {
                        let head = RecordHeader { content_length, request_id, kind, padding_length };
                        let mut data = data.clone();
                        data[..8].copy_from_slice(&head.encode());
                        data[0] = version;
                        let whole = head.record_bytes() as usize;
                        for arrived in [0, 7, 8, whole - 1, whole, data.len()] {
                            found += u32::from(equals_check(decoder, &data[..arrived]));
                        }
                    }
                }
            }
        }
        assert!(found > 10_000, "records were found {found} times");
    }

    fn headers() -> impl Iterator<Item = (u8, u16, u8)> {
        let kinds = (0..=13).chain([u8::MAX]);
        let places = [(0, 1), (1, 1), (256, 1), (65_535, 1), (1, 0), (0, 2), (1, 0x81)];
        kinds.flat_map(move |kind| places.map(move |(request_id, version)| (kind, request_id, version)))
    }

    fn equals_check(decoder: Decoder, data: &[u8]) -> bool {
        let expected = match decoder.peek(data) {
            Ok(Next::Record(head)) if head.form() == Form::Discrete && head.record_bytes() as usize > data.len() => {
                Ok(Next::NeedMore(head.record_bytes() - data.len() as u32))
            }
            answer => answer,
        };
        assert_eq!(decoder.peek_whole(data), expected, "{decoder:?} {:?}", data.first_chunk::<8>());
        let found = decoder.find_whole(data);
        assert_eq!(found.map(Next::Record), expected.ok().filter(|next| matches!(next, Next::Record(_))));
        found.is_some()
    }
}
