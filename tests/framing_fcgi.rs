//! The rules of the FastCGI specification 1.0 that a record's header alone can break: each kept and broken, in Rust and
//! through C.
#![allow(unsafe_code, reason = "the C functions are unsafe to call")]

use demuxbuf::ConfigError;
use demuxbuf::framing::fcgi::*;
use demuxbuf::pool::PoolConfig;
use demuxbuf_capi::*;

const SERVER: Side = Side::WebServer;
const APPLICATION: Side = Side::Application;
const BOTH: [Side; 2] = [SERVER, APPLICATION];

/// Types that each side sends, and those of all types that are streams or belong to no request (appendix A).
const OF_SERVER: [u8; 6] =
    [kind::BEGIN_REQUEST, kind::ABORT_REQUEST, kind::PARAMS, kind::STDIN, kind::DATA, kind::GET_VALUES];
const OF_APPLICATION: [u8; 5] =
    [kind::END_REQUEST, kind::STDOUT, kind::STDERR, kind::GET_VALUES_RESULT, kind::UNKNOWN_TYPE];
const STREAMS: [u8; 5] = [kind::PARAMS, kind::STDIN, kind::DATA, kind::STDOUT, kind::STDERR];
const MANAGEMENT: [u8; 3] = [kind::GET_VALUES, kind::GET_VALUES_RESULT, kind::UNKNOWN_TYPE];
const UNKNOWN: [u8; 4] = [0, 12, 0x80, 0xff];

fn head(kind: u8, request_id: u16, content_length: u16, padding_length: u8) -> RecordHeader {
    RecordHeader { content_length, request_id, kind, padding_length }
}

/// A header of this type that breaks no rule of its own side.
fn proper(kind: u8) -> RecordHeader {
    let content_length = match kind {
        kind::BEGIN_REQUEST | kind::END_REQUEST | kind::UNKNOWN_TYPE => 8,
        _ => 0,
    };
    head(kind, u16::from(!MANAGEMENT.contains(&kind)), content_length, 0)
}

fn whole(head: RecordHeader) -> Vec<u8> {
    let mut bytes = head.encode().to_vec();
    bytes.resize(head.record_bytes() as usize, 0x5a);
    bytes
}

fn accepts(decoder: &Decoder, head: RecordHeader) {
    assert_eq!(decoder.peek(&head.encode()), Ok(Next::Record(head)));
    assert_eq!(decoder.peek_whole(&whole(head)), Ok(Next::Record(head)));
}

/// The header is refused with this code: for the whole connection, or as this record alone.
fn refuses(decoder: &Decoder, head: RecordHeader, code: ErrorCode) {
    let error = decoder.peek(&head.encode()).expect_err("the record breaks a rule");
    let is_of_record = matches!(code, ErrorCode::ContentLength | ErrorCode::TooLong);
    let expected = if is_of_record { (code, head.request_id, head.record_bytes()) } else { (code, 0, 0) };
    assert_eq!((error.code, error.request_id, error.record_bytes), expected, "{head:?}: {error}");
    assert!(!error.rule.is_empty() && error.to_string() == error.rule, "{error:?}");
    assert_eq!(decoder.peek_whole(&whole(head)), Err(error), "whole or not");
}

#[test]
fn numbers_are_those_of_the_specification() {
    let all = [OF_SERVER.as_slice(), &OF_APPLICATION].concat();
    let mut sorted = all.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=11).collect::<Vec<u8>>());
    assert_eq!((HEAD_BYTES, RECORD_BYTES_MAX), (8, 65_798));
    assert_eq!((MAX_DISCRETE_BYTES_MIN, MAX_DISCRETE_BYTES_DEFAULT), (271, 16_448));
    // A buffer of the default size holds what the default lets through.
    assert!(PoolConfig::new(1 << 20, 1).buffer_bytes >= MAX_DISCRETE_BYTES_DEFAULT);
}

#[test]
fn header_reads_as_written() {
    for content_length in [0, 1, 255, 256, 65_535] {
        for request_id in [0, 1, 255, 256, 65_535] {
            for padding_length in [0, 7, 255] {
                let head = head(0xab, request_id, content_length, padding_length);
                assert_eq!(RecordHeader::decode(&head.encode()), head);
                assert_eq!(head.record_bytes(), 8 + u32::from(content_length) + u32::from(padding_length));
            }
        }
    }
    // Version, type, request id, content length, padding length, reserved.
    let bytes = [1, 5, 0x01, 0x02, 0x03, 0x04, 0x06, 0x77];
    let read = RecordHeader::decode(&bytes);
    assert_eq!(read, head(5, 0x0102, 0x0304, 6), "big-endian");
    assert_eq!(read.encode(), [1, 5, 1, 2, 3, 4, 6, 0], "the reserved byte is ignored, and not sent");
    assert_eq!(Decoder::new(SERVER).peek(&bytes), Ok(Next::Record(read)));
    assert_eq!(head(kind::STDIN, 1, 65_535, 255).record_bytes(), RECORD_BYTES_MAX);
}

#[test]
fn version_must_be_1() {
    for side in BOTH {
        for (version, kind) in [(0, kind::PARAMS), (2, kind::STDOUT), (0x81, kind::GET_VALUES), (0xff, 12)] {
            let mut bytes = whole(proper(kind));
            bytes[0] = version;
            for found in [Decoder::new(side).peek(&bytes), Decoder::new(side).peek_whole(&bytes)] {
                let error = found.expect_err("there is one version");
                assert_eq!((error.code, error.request_id, error.record_bytes), (ErrorCode::Version, 0, 0));
            }
        }
    }
}

#[test]
fn each_side_sends_types_of_its_own() {
    for (side, own, other) in
        [(SERVER, OF_SERVER.as_slice(), OF_APPLICATION.as_slice()), (APPLICATION, &OF_APPLICATION, &OF_SERVER)]
    {
        let decoder = Decoder::new(side);
        for &kind in own {
            accepts(&decoder, proper(kind));
        }
        for &kind in other {
            for request_id in [0, 1] {
                refuses(&decoder, RecordHeader { request_id, ..proper(kind) }, ErrorCode::Direction);
            }
        }
    }
}

#[test]
fn management_records_have_no_request() {
    for (side, own) in [(SERVER, OF_SERVER.as_slice()), (APPLICATION, &OF_APPLICATION)] {
        let decoder = Decoder::new(side);
        for &kind in own {
            for request_id in [0, 1, 255, 256, 65_535] {
                let head = RecordHeader { request_id, ..proper(kind) };
                if MANAGEMENT.contains(&kind) == (request_id == 0) {
                    accepts(&decoder, head);
                } else {
                    refuses(&decoder, head, ErrorCode::RequestId);
                }
            }
        }
    }
}

#[test]
fn content_length_is_checked_against_the_type() {
    for (side, own) in [(SERVER, OF_SERVER.as_slice()), (APPLICATION, &OF_APPLICATION)] {
        let decoder = Decoder::new(side);
        for &kind in own {
            for content_length in (0..=20).chain([255, 256, 264, 16_440]) {
                let head = RecordHeader { content_length, ..proper(kind) };
                let fits = match kind {
                    kind::BEGIN_REQUEST | kind::END_REQUEST | kind::UNKNOWN_TYPE => content_length == 8,
                    kind::ABORT_REQUEST => content_length == 0,
                    _ => true,
                };
                if fits { accepts(&decoder, head) } else { refuses(&decoder, head, ErrorCode::ContentLength) }
            }
            for padding_length in [1, 255] {
                accepts(&decoder, RecordHeader { padding_length, ..proper(kind) });
            }
        }
    }
}

/// Only what must be whole is limited, with its padding; the fixed records always fit.
#[test]
fn discrete_record_is_limited() {
    for (side, kind) in [(SERVER, kind::GET_VALUES), (APPLICATION, kind::GET_VALUES_RESULT)] {
        let mut decoder = Decoder::new(side);
        for limit in [MAX_DISCRETE_BYTES_DEFAULT, 300, MAX_DISCRETE_BYTES_MIN, 65_797, RECORD_BYTES_MAX] {
            assert_eq!(decoder.set_max_discrete_bytes(limit), Ok(()));
            for padding_length in [0, 1, 255] {
                let longest = (limit - HEAD_BYTES - u32::from(padding_length)).min(65_535) as u16;
                accepts(&decoder, head(kind, 0, longest, padding_length));
                if let Some(longer) = longest.checked_add(1) {
                    refuses(&decoder, head(kind, 0, longer, padding_length), ErrorCode::TooLong);
                }
            }
        }
        decoder.set_max_discrete_bytes(MAX_DISCRETE_BYTES_MIN).expect("it is the smallest that is allowed");
        let of_side = if side == SERVER { OF_SERVER.as_slice() } else { &OF_APPLICATION };
        for &kind in of_side {
            accepts(&decoder, RecordHeader { padding_length: 255, ..proper(kind) });
            if STREAMS.contains(&kind) {
                accepts(&decoder, head(kind, 1, 65_535, 255));
            }
        }
        for kind in UNKNOWN {
            accepts(&decoder, head(kind, 0, 65_535, 255));
        }
    }
}

#[test]
fn max_discrete_bytes_is_checked() {
    let mut decoder = Decoder::new(SERVER);
    for bytes in [0, 1, MAX_DISCRETE_BYTES_MIN - 1, RECORD_BYTES_MAX + 1, u32::MAX] {
        let before = decoder;
        let refused = ConfigError::out_of_range("max_discrete_bytes", bytes.into(), 271, 65_798);
        assert_eq!(decoder.set_max_discrete_bytes(bytes), Err(refused));
        assert_eq!(decoder, before);
    }
}

#[test]
fn form_follows_the_type() {
    for kind in 0..=u8::MAX {
        for content_length in [0, 1, 65_535] {
            let expected = match (STREAMS.contains(&kind), content_length) {
                (true, 0) => Form::StreamEnd,
                (true, _) => Form::Stream,
                (false, _) if (1..=11).contains(&kind) => Form::Discrete,
                (false, _) => Form::Unknown,
            };
            for request_id in [0, 1] {
                assert_eq!(head(kind, request_id, content_length, 3).form(), expected, "type {kind}");
            }
        }
    }
}

/// They are found at their header, with and without a request: the host has to answer or skip them.
#[test]
fn unknown_types_are_reported() {
    for side in BOTH {
        for kind in UNKNOWN {
            for request_id in [0, 1, 65_535] {
                for (content_length, padding_length) in [(0, 0), (1, 0), (8, 255), (65_535, 255)] {
                    let head = head(kind, request_id, content_length, padding_length);
                    accepts(&Decoder::new(side), head);
                    assert_eq!(Decoder::new(side).peek_whole(&head.encode()), Ok(Next::Record(head)));
                }
            }
        }
    }
}

/// A connection's beginning as a web server sends it.
fn stream() -> Vec<u8> {
    [
        whole(head(kind::GET_VALUES, 0, 30, 2)),
        whole(head(kind::BEGIN_REQUEST, 1, 8, 0)),
        whole(head(kind::PARAMS, 1, 100, 4)),
        whole(head(kind::BEGIN_REQUEST, 2, 8, 7)),
        whole(head(kind::PARAMS, 1, 0, 8)),
        whole(head(12, 0, 3, 0)),
        whole(head(kind::ABORT_REQUEST, 2, 0, 0)),
        whole(head(kind::STDIN, 1, 1, 255)),
        whole(head(kind::STDIN, 1, 0, 0)),
    ]
    .concat()
}

/// A header is needed for every record, and of a discrete one all the rest: what is missing is counted exactly.
#[test]
fn answers_are_alike_at_every_split() {
    let stream = stream();
    let (decoder, mut at, mut records) = (Decoder::new(SERVER), 0, 0);
    while at < stream.len() {
        let Ok(Next::Record(head)) = decoder.peek(&stream[at..]) else { panic!("the stream keeps the rules") };
        let whole = head.record_bytes() as usize;
        let wanted = if head.form() == Form::Discrete { whole } else { 8 };
        for arrived in 0..=stream.len() - at {
            let data = &stream[at..at + arrived];
            let expected = |wanted: usize| match wanted.saturating_sub(arrived) {
                0 => Next::Record(head),
                missing => Next::NeedMore(missing as u32),
            };
            assert_eq!(decoder.peek(data), Ok(expected(8)), "{arrived} bytes behind {at}");
            let of_header = if arrived < 8 { expected(8) } else { expected(wanted) };
            assert_eq!(decoder.peek_whole(data), Ok(of_header), "{arrived} bytes behind {at}");
        }
        (at, records) = (at + whole, records + 1);
    }
    assert_eq!((at, records), (stream.len(), 9));
}

/// The same question through C.
fn same_in_c(rust: &Decoder, c: &demuxbuf_fcgi_decoder, data: &[u8]) {
    let (mut found, mut found_whole) = (demuxbuf_fcgi_record::default(), demuxbuf_fcgi_record::default());
    // SAFETY: live locals, and a slice of the length given.
    let (status, status_whole) = unsafe {
        (
            demuxbuf_fcgi_peek(c, data.as_ptr(), data.len() as u32, &mut found),
            demuxbuf_fcgi_peek_whole(c, data.as_ptr(), data.len() as u32, &mut found_whole),
        )
    };
    assert_eq!((status, found), in_c(rust.peek(data)), "{data:?}");
    assert_eq!((status_whole, found_whole), in_c(rust.peek_whole(data)), "{data:?}");
}

fn in_c(found: Result<Next, Error>) -> (i32, demuxbuf_fcgi_record) {
    let none = demuxbuf_fcgi_record::default();
    match found {
        Ok(Next::NeedMore(need_more)) => (DEMUXBUF_OK, demuxbuf_fcgi_record { need_more, ..none }),
        Ok(Next::Record(head)) => {
            let record = demuxbuf_fcgi_record {
                record_bytes: head.record_bytes(),
                content_length: head.content_length.into(),
                request_id: head.request_id.into(),
                kind: head.kind,
                padding_length: head.padding_length,
                form: match head.form() {
                    Form::Discrete => DEMUXBUF_FCGI_DISCRETE,
                    Form::Stream => DEMUXBUF_FCGI_STREAM,
                    Form::StreamEnd => DEMUXBUF_FCGI_STREAM_END,
                    Form::Unknown => DEMUXBUF_FCGI_UNKNOWN,
                },
                ..none
            };
            (DEMUXBUF_OK, record)
        }
        Err(error) => {
            let (request_id, record_bytes) = (error.request_id.into(), error.record_bytes);
            let error_code = match error.code {
                ErrorCode::Version => DEMUXBUF_FCGI_ERROR_VERSION,
                ErrorCode::Direction => DEMUXBUF_FCGI_ERROR_DIRECTION,
                ErrorCode::RequestId => DEMUXBUF_FCGI_ERROR_REQUEST_ID,
                ErrorCode::ContentLength => DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH,
                ErrorCode::TooLong => DEMUXBUF_FCGI_ERROR_TOO_LONG,
                other => panic!("{other:?} has no number in C"),
            };
            (DEMUXBUF_ERR_PROTOCOL, demuxbuf_fcgi_record { request_id, record_bytes, error_code, ..none })
        }
    }
}

#[test]
fn c_framing_answers_like_rust() {
    let stream = stream();
    for (side, c_side) in [(SERVER, DEMUXBUF_FCGI_WEB_SERVER), (APPLICATION, DEMUXBUF_FCGI_APPLICATION)] {
        let (mut rust, mut c) = (Decoder::new(side), demuxbuf_fcgi_decoder::default());
        // SAFETY: live locals, as in every call here.
        assert_eq!(unsafe { demuxbuf_fcgi_init(&mut c, c_side) }, DEMUXBUF_OK);
        for limit in [MAX_DISCRETE_BYTES_DEFAULT, MAX_DISCRETE_BYTES_MIN, RECORD_BYTES_MAX] {
            rust.set_max_discrete_bytes(limit).expect("it is allowed");
            // SAFETY: as above.
            assert_eq!(unsafe { demuxbuf_fcgi_set_max_discrete_bytes(&mut c, limit) }, DEMUXBUF_OK);
            for arrived in 0..stream.len().min(60) {
                same_in_c(&rust, &c, &stream[..arrived]);
            }
            // Miri takes minutes for all of them.
            for kind in (0..=13).chain([255]).step_by(if cfg!(miri) { 4 } else { 1 }) {
                for request_id in [0, 1, 256] {
                    for content_length in [0, 7, 8, 9, 256, 264, 16_440, 16_441, 65_535] {
                        let head = head(kind, request_id, content_length, (content_length % 2) as u8);
                        same_in_c(&rust, &c, &head.encode());
                        same_in_c(&rust, &c, &[&head.encode()[..], &[0; 300]].concat());
                    }
                }
            }
            same_in_c(&rust, &c, &[2, 1, 0, 1, 0, 8, 0, 0]);
        }
    }
}

#[test]
fn c_checks_side_and_limit() {
    let mut c = demuxbuf_fcgi_decoder::default();
    // SAFETY: a live local, or NULL, which is refused.
    unsafe {
        assert_eq!(demuxbuf_fcgi_init(&mut c, 2), DEMUXBUF_ERR_RANGE);
        assert_eq!(demuxbuf_fcgi_init(std::ptr::null_mut(), 0), DEMUXBUF_ERR_NULL);
        for (bytes, status) in [
            (MAX_DISCRETE_BYTES_MIN - 1, DEMUXBUF_ERR_RANGE),
            (RECORD_BYTES_MAX + 1, DEMUXBUF_ERR_RANGE),
            (u32::MAX, DEMUXBUF_ERR_RANGE),
            (MAX_DISCRETE_BYTES_MIN, DEMUXBUF_OK),
            (RECORD_BYTES_MAX, DEMUXBUF_OK),
        ] {
            assert_eq!(demuxbuf_fcgi_set_max_discrete_bytes(&mut c, bytes), status);
        }
        assert_eq!(demuxbuf_fcgi_set_max_discrete_bytes(std::ptr::null_mut(), 300), DEMUXBUF_ERR_NULL);
    }
}

#[test]
fn c_refuses_a_corrupt_decoder() {
    let decoder = |side: u32, above_default: i32| {
        // SAFETY: the struct is two integers, of which C can make any.
        unsafe { core::mem::transmute::<[u32; 2], demuxbuf_fcgi_decoder>([side, above_default as u32]) }
    };
    let (least, most) = (271 - 16_448, 65_798 - 16_448);
    for (mut decoder, status) in [
        (decoder(0, 0), DEMUXBUF_OK),
        (decoder(1, least), DEMUXBUF_OK),
        (decoder(1, most), DEMUXBUF_OK),
        (decoder(2, 0), DEMUXBUF_ERR_RANGE),
        (decoder(0, least - 1), DEMUXBUF_ERR_RANGE),
        (decoder(0, most + 1), DEMUXBUF_ERR_RANGE),
        (decoder(u32::MAX, -1), DEMUXBUF_ERR_RANGE),
    ] {
        let mut record = demuxbuf_fcgi_record::default();
        let bytes = [1, 12, 0, 0, 0, 0, 0, 0];
        // SAFETY: the decoder and the record are valid for the call, and so are the bytes.
        unsafe {
            assert_eq!(demuxbuf_fcgi_peek(&decoder, bytes.as_ptr(), 8, &mut record), status);
            assert_eq!(demuxbuf_fcgi_peek_whole(&decoder, bytes.as_ptr(), 8, &mut record), status);
            assert_eq!(demuxbuf_fcgi_set_max_discrete_bytes(&mut decoder, 300), status);
        }
    }
}
