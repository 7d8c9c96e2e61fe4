//! The rules of RFC 9113 that a frame's header alone can break: each kept and broken, in Rust and through C.
#![allow(unsafe_code, reason = "the C functions are unsafe to call")]

use demuxbuf::framing::h2::*;
use demuxbuf_capi::*;

const CLIENT: Side = Side::Client;
const SERVER: Side = Side::Server;
const BOTH: [Side; 2] = [CLIENT, SERVER];

fn head(kind: u8, flags: u8, stream_id: u32, length: u32) -> FrameHeader {
    FrameHeader { length, stream_id, kind, flags }
}

/// A decoder that has seen all that comes before the first ordinary frame.
fn started(side: Side) -> Decoder {
    let mut decoder = Decoder::new(side);
    if side == CLIENT {
        decoder.accept(&Next::Preface);
    }
    decoder.accept(&Next::Frame(head(kind::SETTINGS, 0, 0, 0)));
    decoder
}

fn accepts(decoder: &Decoder, head: FrameHeader) {
    assert_eq!(decoder.peek(&head.encode()), Ok(Next::Frame(head)));
}

/// The header is refused with this code, for the whole connection.
fn refuses(decoder: &Decoder, head: FrameHeader, code: ErrorCode) {
    let error = decoder.peek(&head.encode()).expect_err("the frame breaks a rule");
    assert_eq!((error.code, error.stream_id), (code, 0), "{head:?}: {error}");
    assert_eq!(error.to_string(), error.rule);
}

#[test]
fn error_codes_are_those_of_the_rfc() {
    assert_eq!((ErrorCode::Protocol as u32, ErrorCode::FrameSize as u32), (1, 6));
}

#[test]
fn header_reads_as_written() {
    for length in [0, 1, 255, 256, 65_536, MAX_FRAME_SIZE_MAX] {
        for stream_id in [0, 1, 0x0102_0304, 0x7fff_ffff] {
            let head = head(0xab, 0xcd, stream_id, length);
            assert_eq!(FrameHeader::decode(&head.encode()), head);
            assert_eq!(head.frame_bytes(), length + HEAD_BYTES);
        }
    }
    let bytes = [0x01, 0x02, 0x03, 0x04, 0x05, 0x86, 0x07, 0x08, 0x09];
    assert_eq!(
        FrameHeader::decode(&bytes),
        head(4, 5, 0x0607_0809, 0x0001_0203),
        "big-endian, the reserved bit ignored"
    );
    assert_eq!(FrameHeader::decode(&bytes).encode()[5], 0x06, "and not sent");
}

#[test]
fn preface_is_checked_byte_by_byte() {
    let decoder = Decoder::new(CLIENT);
    for arrived in 0..PREFACE.len() {
        let missing = (PREFACE.len() - arrived) as u32;
        assert_eq!(decoder.peek(&PREFACE[..arrived]), Ok(Next::NeedMore(missing)));
        // A wrong byte is seen as soon as it is there, whatever comes behind it.
        let mut wrong = PREFACE.to_vec();
        wrong[arrived] ^= 0x20;
        for seen in [arrived + 1, PREFACE.len()] {
            let error = decoder.peek(&wrong[..seen]).expect_err("not a preface");
            assert_eq!((error.code, error.stream_id), (ErrorCode::Protocol, 0));
        }
    }
    assert_eq!(decoder.peek(PREFACE), Ok(Next::Preface));
    let with_more = [PREFACE.as_slice(), &[0xff; 40]].concat();
    assert_eq!(decoder.peek(&with_more), Ok(Next::Preface));
    assert!(Decoder::new(SERVER).peek(PREFACE).is_err(), "a server sends none");
}

#[test]
fn first_frame_must_be_settings() {
    for side in BOTH {
        let mut decoder = Decoder::new(side);
        if side == CLIENT {
            decoder.accept(&Next::Preface);
        }
        for (kind, length) in [
            (kind::DATA, 0),
            (kind::HEADERS, 0),
            (kind::PRIORITY, 5),
            (kind::RST_STREAM, 4),
            (kind::PUSH_PROMISE, 4),
            (kind::PING, 8),
            (kind::GOAWAY, 8),
            (kind::WINDOW_UPDATE, 4),
            (kind::CONTINUATION, 0),
            (0x42, 3),
        ] {
            for stream_id in [0, 1] {
                refuses(&decoder, head(kind, 0, stream_id, length), ErrorCode::Protocol);
            }
        }
        refuses(&decoder, head(kind::SETTINGS, flags::ACK, 0, 0), ErrorCode::Protocol);
        accepts(&decoder, head(kind::SETTINGS, 0, 0, 0));
        accepts(&decoder, head(kind::SETTINGS, 0, 0, 12));
        decoder.accept(&Next::Frame(head(kind::SETTINGS, 0, 0, 0)));
        accepts(&decoder, head(kind::SETTINGS, flags::ACK, 0, 0));
        accepts(&decoder, head(kind::PING, 0, 0, 8));
    }
}

#[test]
fn frame_size_is_limited_to_the_announced_one() {
    for side in BOTH {
        let mut decoder = started(side);
        // The limit is judged by the header alone, also for unknown types.
        for kind in [kind::DATA, kind::HEADERS, kind::CONTINUATION, kind::GOAWAY, 0x42] {
            let stream_id = u32::from(kind != kind::GOAWAY);
            refuses(&decoder, head(kind, 0, stream_id, MAX_FRAME_SIZE_MIN + 1), ErrorCode::FrameSize);
        }
        accepts(&decoder, head(kind::DATA, 0, 1, MAX_FRAME_SIZE_MIN));
        decoder.set_max_frame_size(20_000).expect("it may be announced");
        accepts(&decoder, head(kind::DATA, 0, 1, 20_000));
        refuses(&decoder, head(kind::DATA, 0, 1, 20_001), ErrorCode::FrameSize);
        decoder.set_max_frame_size(MAX_FRAME_SIZE_MAX).expect("it may be announced");
        accepts(&decoder, head(kind::DATA, 0, 1, MAX_FRAME_SIZE_MAX));
    }
}

#[test]
fn max_frame_size_is_checked() {
    let mut decoder = started(CLIENT);
    for bytes in [0, 1, MAX_FRAME_SIZE_MIN - 1, MAX_FRAME_SIZE_MAX + 1, u32::MAX] {
        let before = decoder;
        let error = decoder.set_max_frame_size(bytes).expect_err("out of range");
        assert_eq!((error.code, decoder), (ErrorCode::Protocol, before));
    }
    for bytes in [MAX_FRAME_SIZE_MIN, MAX_FRAME_SIZE_MAX, MAX_FRAME_SIZE_MIN] {
        assert_eq!(decoder.set_max_frame_size(bytes), Ok(()));
    }
    refuses(&decoder, head(kind::DATA, 0, 1, MAX_FRAME_SIZE_MIN + 1), ErrorCode::FrameSize);
}

#[test]
fn frame_types_are_checked_against_the_stream_id() {
    for side in BOTH {
        let decoder = started(side);
        let of_streams =
            [(kind::DATA, 0), (kind::HEADERS, 0), (kind::PRIORITY, 5), (kind::RST_STREAM, 4), (kind::PUSH_PROMISE, 4)];
        for (kind, length) in of_streams {
            refuses(&decoder, head(kind, 0, 0, length), ErrorCode::Protocol);
            if !(side == CLIENT && kind == kind::PUSH_PROMISE) {
                accepts(&decoder, head(kind, 0, 1, length));
                accepts(&decoder, head(kind, 0, 0x7fff_ffff, length));
            }
        }
        for (kind, length) in [(kind::SETTINGS, 0), (kind::PING, 8), (kind::GOAWAY, 8)] {
            refuses(&decoder, head(kind, 0, 1, length), ErrorCode::Protocol);
            accepts(&decoder, head(kind, 0, 0, length));
        }
        for stream_id in [0, 3] {
            accepts(&decoder, head(kind::WINDOW_UPDATE, 0, stream_id, 4));
        }
    }
    // The reserved bit is no stream.
    let mut bytes = head(kind::DATA, 0, 0, 0).encode();
    bytes[5] = 0x80;
    assert!(started(CLIENT).peek(&bytes).is_err());
}

#[test]
fn push_promise_is_refused() {
    let promise = head(kind::PUSH_PROMISE, flags::END_HEADERS, 1, 4);
    refuses(&started(CLIENT), promise, ErrorCode::Protocol);
    accepts(&started(SERVER), promise);
}

#[test]
fn frame_length_is_checked_against_its_type() {
    for side in BOTH {
        let decoder = started(side);
        for length in 0..=24 {
            let fixed = [
                (head(kind::RST_STREAM, 0, 1, length), length == 4),
                (head(kind::WINDOW_UPDATE, 0, 1, length), length == 4),
                (head(kind::WINDOW_UPDATE, 0, 0, length), length == 4),
                (head(kind::PING, 0, 0, length), length == 8),
                (head(kind::PING, flags::ACK, 0, length), length == 8),
                (head(kind::GOAWAY, 0, 0, length), length >= 8),
                (head(kind::SETTINGS, 0, 0, length), length % 6 == 0),
                (head(kind::SETTINGS, flags::ACK, 0, length), length == 0),
            ];
            for (head, fits) in fixed {
                if fits { accepts(&decoder, head) } else { refuses(&decoder, head, ErrorCode::FrameSize) }
            }
            // A wrong PRIORITY is an error of its stream alone.
            let priority = head(kind::PRIORITY, 0, 5, length);
            match decoder.peek(&priority.encode()) {
                Ok(next) => assert_eq!((next, length), (Next::Frame(priority), 5)),
                Err(error) => assert_eq!((error.code, error.stream_id, length == 5), (ErrorCode::FrameSize, 5, false)),
            }
        }
    }
}

#[test]
fn frame_length_is_checked_against_its_flags() {
    let (padded, priority) = (flags::PADDED, flags::PRIORITY);
    for (kind, flags, least) in [
        (kind::DATA, 0, 0),
        (kind::DATA, padded, 1),
        (kind::DATA, priority, 0),
        (kind::HEADERS, 0, 0),
        (kind::HEADERS, padded, 1),
        (kind::HEADERS, priority, 5),
        (kind::HEADERS, padded | priority, 6),
        (kind::PUSH_PROMISE, 0, 4),
        (kind::PUSH_PROMISE, padded, 5),
        (kind::CONTINUATION, padded | priority, 0),
        (0x42, padded | priority, 0),
    ] {
        let mut decoder = started(SERVER);
        if kind == kind::CONTINUATION {
            decoder.accept(&Next::Frame(head(kind::HEADERS, 0, 1, 0)));
        }
        for length in 0..=8 {
            let head = head(kind, flags, 1, length);
            if length >= least { accepts(&decoder, head) } else { refuses(&decoder, head, ErrorCode::FrameSize) }
        }
    }
}

#[test]
fn padding_must_be_shorter_than_its_frame() {
    let (padded, priority) = (flags::PADDED, flags::PRIORITY);
    for (kind, flags, fixed) in [
        (kind::DATA, padded, 1),
        (kind::HEADERS, padded, 1),
        (kind::HEADERS, padded | priority, 6),
        (kind::PUSH_PROMISE, padded, 5),
    ] {
        for length in [fixed, fixed + 1, fixed + 100, fixed + 255, 1000] {
            let head = head(kind, flags, 1, length);
            assert!(head.is_padded());
            for pad_length in 0..=255 {
                let result = head.check_padding(pad_length);
                let fits = fixed + u32::from(pad_length) <= length;
                assert_eq!(
                    result.map_err(|error| (error.code, error.stream_id)),
                    if fits { Ok(()) } else { Err((ErrorCode::Protocol, 0)) }
                );
            }
        }
    }
    // Without the flag, or with one that means something else, the first byte is no pad length.
    for (kind, flags) in [(kind::DATA, 0), (kind::PING, padded), (kind::CONTINUATION, padded), (0x42, 0xff)] {
        let head = head(kind, flags, 1, 0);
        assert!(!head.is_padded());
        assert_eq!(head.check_padding(255), Ok(()));
    }
}

#[test]
fn header_block_is_not_interrupted() {
    let opening = [head(kind::HEADERS, 0, 5, 10), head(kind::PUSH_PROMISE, 0, 5, 10)];
    let between = [
        head(kind::DATA, 0, 5, 0),
        head(kind::HEADERS, flags::END_HEADERS, 5, 0),
        head(kind::PRIORITY, 0, 5, 5),
        head(kind::RST_STREAM, 0, 5, 4),
        head(kind::SETTINGS, 0, 0, 0),
        head(kind::PING, 0, 0, 8),
        head(kind::WINDOW_UPDATE, 0, 0, 4),
        head(kind::GOAWAY, 0, 0, 8),
        head(0x42, 0, 5, 0),
        head(kind::CONTINUATION, flags::END_HEADERS, 7, 1),
        head(kind::CONTINUATION, flags::END_HEADERS, 0, 1),
    ];
    for open in opening {
        let mut decoder = started(SERVER);
        refuses(&decoder, head(kind::CONTINUATION, flags::END_HEADERS, 5, 1), ErrorCode::Protocol);
        decoder.accept(&Next::Frame(open));
        for _ in 0..3 {
            for intruder in between {
                refuses(&decoder, intruder, ErrorCode::Protocol);
            }
            let more = head(kind::CONTINUATION, 0, 5, 1);
            accepts(&decoder, more);
            decoder.accept(&Next::Frame(more));
        }
        let last = head(kind::CONTINUATION, flags::END_HEADERS, 5, 0);
        accepts(&decoder, last);
        decoder.accept(&Next::Frame(last));
        refuses(&decoder, last, ErrorCode::Protocol);
        accepts(&decoder, head(kind::DATA, 0, 5, 0));
    }
    // END_HEADERS at once: nothing is open. The same bit on other types means nothing here.
    let mut decoder = started(CLIENT);
    decoder.accept(&Next::Frame(head(kind::HEADERS, flags::END_HEADERS, 5, 1)));
    refuses(&decoder, head(kind::CONTINUATION, 0, 5, 1), ErrorCode::Protocol);
    decoder.accept(&Next::Frame(head(kind::DATA, 0, 5, 1)));
    accepts(&decoder, head(kind::PING, 0, 0, 8));
}

#[test]
fn unknown_frame_types_are_accepted() {
    for side in BOTH {
        let decoder = started(side);
        for kind in [0x0a, 0x42, 0xff] {
            for (flags, stream_id, length) in [(0, 0, 0), (0xff, 0, 1), (0xff, 9, 0), (0, 1, MAX_FRAME_SIZE_MIN)] {
                accepts(&decoder, head(kind, flags, stream_id, length));
            }
        }
    }
}

/// A connection's beginning as a client sends it.
fn stream() -> Vec<u8> {
    let frame = |head: FrameHeader| [head.encode().to_vec(), vec![0x5a; head.length as usize]].concat();
    [
        PREFACE.to_vec(),
        frame(head(kind::SETTINGS, 0, 0, 18)),
        frame(head(kind::WINDOW_UPDATE, 0, 0, 4)),
        frame(head(kind::HEADERS, flags::PRIORITY, 1, 30)),
        frame(head(kind::CONTINUATION, flags::END_HEADERS, 1, 3)),
        frame(head(kind::DATA, flags::PADDED, 1, 100)),
        frame(head(0x42, 7, 3, 0)),
        frame(head(kind::SETTINGS, flags::ACK, 0, 0)),
    ]
    .concat()
}

#[test]
fn peek_answers_alike_at_every_split() {
    let stream = stream();
    let (mut decoder, mut at, mut frames) = (Decoder::new(CLIENT), 0, 0);
    while at < stream.len() {
        let whole = decoder.peek(&stream[at..]).expect("the stream keeps the rules");
        let head_bytes = if whole == Next::Preface { PREFACE.len() } else { HEAD_BYTES as usize };
        let before = decoder;
        for arrived in 0..=stream.len() - at {
            let seen = decoder.peek(&stream[at..at + arrived]);
            let missing = head_bytes.saturating_sub(arrived);
            let expected = if missing > 0 { Next::NeedMore(missing as u32) } else { whole };
            assert_eq!(seen, Ok(expected), "{arrived} bytes behind {at}");
            assert_eq!(decoder, before, "looking changes nothing");
        }
        decoder.accept(&Next::NeedMore(1));
        assert_eq!(decoder, before, "and so does accepting nothing");
        decoder.accept(&whole);
        at += match whole {
            Next::Frame(head) => head.frame_bytes() as usize,
            _ => PREFACE.len(),
        };
        frames += 1;
    }
    assert_eq!((at, frames), (stream.len(), 8));
}

/// The same question through C.
fn peek_in_c(decoder: &demuxbuf_h2_decoder, data: &[u8]) -> (i32, demuxbuf_h2_next) {
    let mut next = demuxbuf_h2_next::default();
    // SAFETY: live locals, and a slice of the length given.
    let status = unsafe { demuxbuf_h2_peek(decoder, data.as_ptr(), data.len() as u32, &mut next) };
    (status, next)
}

fn same_in_c(rust: &Decoder, c: &demuxbuf_h2_decoder, data: &[u8]) -> demuxbuf_h2_next {
    let (status, next) = peek_in_c(c, data);
    match rust.peek(data) {
        Ok(Next::NeedMore(bytes)) => assert_eq!((status, next.need_more, next.frame_bytes), (DEMUXBUF_OK, bytes, 0)),
        Ok(Next::Preface) => {
            assert_eq!((status, next.is_preface, next.frame_bytes), (DEMUXBUF_OK, 1, DEMUXBUF_H2_PREFACE_BYTES));
        }
        Ok(Next::Frame(head)) => {
            assert_eq!((status, next.need_more, next.is_preface), (DEMUXBUF_OK, 0, 0));
            assert_eq!((next.frame_bytes, next.length), (head.frame_bytes(), head.length));
            assert_eq!((next.stream_id, next.kind, next.flags), (head.stream_id, head.kind, head.flags));
        }
        Err(error) => {
            assert_eq!(status, DEMUXBUF_ERR_PROTOCOL);
            assert_eq!((next.error_code, next.stream_id), (error.code as u32, error.stream_id));
        }
    }
    next
}

/// `advance` in Rust and in C does what `peek`, the wait for the whole frame and `accept` do.
fn advance_is_peek_and_accept(decoder: &Decoder, c: &demuxbuf_h2_decoder, data: &[u8]) {
    let (mut rust, mut expected, mut c) = (*decoder, *decoder, *c);
    let found = match decoder.peek(data) {
        Ok(Next::Frame(head)) if head.kind != kind::DATA && head.frame_bytes() as usize > data.len() => {
            Ok(Next::NeedMore(head.frame_bytes() - data.len() as u32))
        }
        found => found,
    };
    if let Ok(next) = found {
        expected.accept(&next);
    }
    assert_eq!((rust.advance(data), rust), (found, expected));
    let peeked = peek_in_c(&c, data);
    let mut next = demuxbuf_h2_next::default();
    // SAFETY: live locals, and a slice of the length given.
    let status = unsafe { demuxbuf_h2_advance(&mut c, data.as_ptr(), data.len() as u32, &mut next) };
    match found {
        Ok(Next::NeedMore(bytes)) => assert_eq!((status, next.need_more, next.frame_bytes), (DEMUXBUF_OK, bytes, 0)),
        Ok(_) => assert_eq!((status, next), peeked),
        Err(error) => assert_eq!((status, next.error_code), (DEMUXBUF_ERR_PROTOCOL, error.code as u32)),
    }
    same_in_c(&rust, &c, data);
}

#[test]
fn c_framing_answers_like_rust() {
    let mut c = demuxbuf_h2_decoder::default();
    // SAFETY: live locals, as in every call here.
    unsafe {
        assert_eq!(demuxbuf_h2_init(&mut c, DEMUXBUF_H2_CLIENT), DEMUXBUF_OK);
        assert_eq!(demuxbuf_h2_init(&mut c, 2), DEMUXBUF_ERR_RANGE);
    }
    let (mut rust, stream) = (Decoder::new(CLIENT), stream());
    let mut at = 0;
    while at < stream.len() {
        for arrived in 0..(stream.len() - at).min(40) {
            same_in_c(&rust, &c, &stream[at..at + arrived]);
            advance_is_peek_and_accept(&rust, &c, &stream[at..at + arrived]);
        }
        // Any header at all, at this point of the stream.
        for kind in 0..=10 {
            for flags in [0, 0x1, 0x4, 0x8, 0x20, 0x28] {
                for stream_id in [0, 1, 3] {
                    for length in [0, 4, 5, 6, 8, 16_384, 16_385, 0xff_ffff] {
                        let header = head(kind, flags, stream_id, length).encode();
                        same_in_c(&rust, &c, &header);
                        advance_is_peek_and_accept(&rust, &c, &header);
                        advance_is_peek_and_accept(&rust, &c, &[&header[..], &[0; 8]].concat());
                    }
                }
            }
        }
        let next = same_in_c(&rust, &c, &stream[at..]);
        rust.accept(&rust.peek(&stream[at..]).expect("the stream keeps the rules"));
        // SAFETY: as above.
        assert_eq!(unsafe { demuxbuf_h2_accept(&mut c, &next) }, DEMUXBUF_OK);
        at += next.frame_bytes as usize;
    }
}

#[test]
fn c_checks_the_max_frame_size() {
    let mut c = demuxbuf_h2_decoder::default();
    for (bytes, status) in [
        (MAX_FRAME_SIZE_MIN - 1, DEMUXBUF_ERR_RANGE),
        (MAX_FRAME_SIZE_MAX + 1, DEMUXBUF_ERR_RANGE),
        (MAX_FRAME_SIZE_MIN, DEMUXBUF_OK),
        (MAX_FRAME_SIZE_MAX, DEMUXBUF_OK),
    ] {
        // SAFETY: a live local.
        assert_eq!(unsafe { demuxbuf_h2_set_max_frame_size(&mut c, bytes) }, status);
    }
    // SAFETY: NULL is allowed to be passed, and is refused.
    unsafe {
        assert_eq!(demuxbuf_h2_set_max_frame_size(std::ptr::null_mut(), MAX_FRAME_SIZE_MIN), DEMUXBUF_ERR_NULL);
        assert_eq!(demuxbuf_h2_peek(&c, std::ptr::null(), 1, &mut demuxbuf_h2_next::default()), DEMUXBUF_ERR_NULL);
        assert_eq!(demuxbuf_h2_peek(&c, std::ptr::null(), 0, &mut demuxbuf_h2_next::default()), DEMUXBUF_OK);
    }
}

#[test]
fn c_accepts_only_a_possible_result_of_peek() {
    let mut c = demuxbuf_h2_decoder::default();
    let (_, preface) = peek_in_c(&c, PREFACE);
    let frame = |kind, stream_id, length| demuxbuf_h2_next { kind, stream_id, length, ..Default::default() };
    // SAFETY: live locals.
    let mut accept = |next: &demuxbuf_h2_next| unsafe { demuxbuf_h2_accept(&mut c, next) };
    assert_eq!(accept(&frame(kind::SETTINGS, 0, 0)), DEMUXBUF_ERR_RANGE, "the preface comes first");
    assert_eq!(accept(&preface), DEMUXBUF_OK);
    assert_eq!(accept(&preface), DEMUXBUF_ERR_RANGE, "and once");
    assert_eq!(accept(&frame(kind::PING, 0, 8)), DEMUXBUF_ERR_RANGE, "then SETTINGS");
    assert_eq!(accept(&frame(kind::SETTINGS, 0, 0)), DEMUXBUF_OK);
    assert_eq!(accept(&frame(kind::PING, 0, 7)), DEMUXBUF_ERR_RANGE);
    assert_eq!(accept(&frame(kind::PING, 0, 8)), DEMUXBUF_OK);
}

#[test]
fn c_refuses_a_corrupt_decoder() {
    let decoder = |side: u32, stage: u32, above_min: u32| {
        // SAFETY: the struct is four integers, of which C can make any.
        unsafe { core::mem::transmute::<[u32; 4], demuxbuf_h2_decoder>([side, stage, above_min, 0]) }
    };
    let above_min = MAX_FRAME_SIZE_MAX - MAX_FRAME_SIZE_MIN;
    for (mut decoder, status) in [
        (decoder(0, 0, above_min), DEMUXBUF_OK),
        (decoder(0, 0, above_min + 1), DEMUXBUF_ERR_RANGE),
        (decoder(1, 1, 0), DEMUXBUF_OK),
        (decoder(1, 2, 0), DEMUXBUF_OK),
        // Only a client sends a preface.
        (decoder(1, 0, 0), DEMUXBUF_ERR_RANGE),
        (decoder(1, 1, above_min + 1), DEMUXBUF_ERR_RANGE),
        (decoder(2, 1, 0), DEMUXBUF_ERR_RANGE),
        (decoder(0, 3, 0), DEMUXBUF_ERR_RANGE),
        (decoder(2, 2, 0), DEMUXBUF_ERR_RANGE),
        (decoder(0, 2, above_min + 1), DEMUXBUF_ERR_RANGE),
    ] {
        if status != DEMUXBUF_OK {
            let (ping, mut next) = ([0, 0, 8, kind::PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], Default::default());
            // SAFETY: live locals, and the length of the array.
            let advanced = unsafe { demuxbuf_h2_advance(&mut decoder, ping.as_ptr(), ping.len() as u32, &mut next) };
            assert_eq!(advanced, status, "nor is there a fast path with it");
        }
        // SAFETY: the decoder is valid for the call.
        assert_eq!(unsafe { demuxbuf_h2_set_max_frame_size(&mut decoder, MAX_FRAME_SIZE_MIN) }, status);
    }
}
