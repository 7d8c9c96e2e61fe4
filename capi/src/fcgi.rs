//! FastCGI records for C.

use super::guard::{bytes_at, guarded, guarded_or};
use super::out::{Out, StructOut, growable};
use super::pool::status;
use super::status::*;
use demuxbuf::framing::fcgi::{Decoder, Error, ErrorCode, Form, Next, RECORD_BYTES_MAX, RecordHeader, Side};

/// What is decoded is sent by a web server, to an application.
pub const DEMUXBUF_FCGI_WEB_SERVER: u32 = 0;
/// What is decoded is sent by an application, to a web server.
pub const DEMUXBUF_FCGI_APPLICATION: u32 = 1;

/// The largest record: header, content and padding.
pub const DEMUXBUF_FCGI_RECORD_BYTES_MAX: u32 = 65798;
const _: () = assert!(DEMUXBUF_FCGI_RECORD_BYTES_MAX == RECORD_BYTES_MAX);

/// `form`: one unit, which is taken whole.
pub const DEMUXBUF_FCGI_DISCRETE: u8 = 0;
/// `form`: a part of a stream. Pass on what is there of its content, and skip the padding.
pub const DEMUXBUF_FCGI_STREAM: u8 = 1;
/// `form`: the empty record that ends a stream. Skip the padding.
pub const DEMUXBUF_FCGI_STREAM_END: u8 = 2;
/// `form`: a type that the specification does not have. Skip the record. An application answers one of request id 0
/// with UNKNOWN_TYPE (section 4.2): the bytes 1, 11, 0, 0, 0, 8, 0, 0, then `kind` and seven times 0.
pub const DEMUXBUF_FCGI_UNKNOWN: u8 = 3;

/// `error_code`: the version is not 1 (section 3.3).
pub const DEMUXBUF_FCGI_ERROR_VERSION: u32 = 1;
/// `error_code`: only the other side sends records of this type (appendix A).
pub const DEMUXBUF_FCGI_ERROR_DIRECTION: u32 = 2;
/// `error_code`: a management record with the id of a request, or a record of a request without one (section 3.3).
pub const DEMUXBUF_FCGI_ERROR_REQUEST_ID: u32 = 3;
/// `error_code`: the content is shorter or longer than that of this type (sections 4.2, 5.1, 5.4, 5.5).
pub const DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH: u32 = 4;
/// `error_code`: a discrete record is longer than `demuxbuf_fcgi_set_max_discrete_bytes` allows.
pub const DEMUXBUF_FCGI_ERROR_TOO_LONG: u32 = 5;

const _: () = {
    assert!(DEMUXBUF_FCGI_DISCRETE == Form::Discrete as u8 && DEMUXBUF_FCGI_STREAM == Form::Stream as u8);
    assert!(DEMUXBUF_FCGI_STREAM_END == Form::StreamEnd as u8 && DEMUXBUF_FCGI_UNKNOWN == Form::Unknown as u8);
    assert!(DEMUXBUF_FCGI_ERROR_VERSION == ErrorCode::Version as u32);
    assert!(DEMUXBUF_FCGI_ERROR_DIRECTION == ErrorCode::Direction as u32);
    assert!(DEMUXBUF_FCGI_ERROR_REQUEST_ID == ErrorCode::RequestId as u32);
    assert!(DEMUXBUF_FCGI_ERROR_CONTENT_LENGTH == ErrorCode::ContentLength as u32);
    assert!(DEMUXBUF_FCGI_ERROR_TOO_LONG == ErrorCode::TooLong as u32);
};

/// Finds and judges the records that one side sends: a plain value, the same at every record. All-zero is one for a web
/// server's records. Private to the library.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct demuxbuf_fcgi_decoder {
    side: u32,
    max_discrete_bytes: u32,
}

/// What stands at the front.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct demuxbuf_fcgi_record {
    /// `sizeof(demuxbuf_fcgi_record)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
    /// If non-zero, at least this many more bytes are needed before the record is found.
    pub need_more: u32,
    /// Length of the whole record with its header and padding, in bytes; 0 with `need_more`. With
    /// `DEMUXBUF_ERR_PROTOCOL`: the length if the next record can be read behind it, 0 for an error of the connection.
    pub record_bytes: u32,
    /// Length of the content, in bytes. It begins behind the 8 bytes of the header.
    pub content_length: u32,
    /// Request of the record; 0 for a management record. With `DEMUXBUF_ERR_PROTOCOL`: the request it is an error of.
    pub request_id: u32,
    /// With `DEMUXBUF_ERR_PROTOCOL`: one of `DEMUXBUF_FCGI_ERROR_...`.
    pub error_code: u32,
    /// Type of the record (section 8).
    pub kind: u8,
    /// Length of the padding behind the content, in bytes.
    pub padding_length: u8,
    /// How the content is taken: `DEMUXBUF_FCGI_DISCRETE`, `_STREAM`, `_STREAM_END` or `_UNKNOWN`.
    pub form: u8,
    /// Always 0.
    pub reserved: u8,
}

growable!(demuxbuf_fcgi_record, 28);

const _: () = assert!(size_of::<demuxbuf_fcgi_decoder>() == 8 && align_of::<demuxbuf_fcgi_decoder>() == 4);

impl demuxbuf_fcgi_decoder {
    #[inline(always)]
    fn load(&self) -> Option<Decoder> {
        Decoder::from_words([self.side, self.max_discrete_bytes])
    }

    fn store(&mut self, decoder: Decoder) {
        [self.side, self.max_discrete_bytes] = decoder.to_words();
    }
}

/// Prepares a decoder for the records that `side` (`DEMUXBUF_FCGI_WEB_SERVER` or `DEMUXBUF_FCGI_APPLICATION`) sends.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE` for another side.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_fcgi_init(decoder: *mut demuxbuf_fcgi_decoder, side: u32) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks.
        let Some(place) = (unsafe { Out::new(decoder) }) else {
            return DEMUXBUF_ERR_NULL;
        };
        let side = match side {
            DEMUXBUF_FCGI_WEB_SERVER => Side::WebServer,
            DEMUXBUF_FCGI_APPLICATION => Side::Application,
            _ => return DEMUXBUF_ERR_RANGE,
        };
        let mut decoder = demuxbuf_fcgi_decoder::default();
        decoder.store(Decoder::new(side));
        place.write(decoder);
        DEMUXBUF_OK
    })
}

/// Sets the largest discrete record that the host takes, with its header and padding, in bytes: the size of its buffer,
/// 271 to 65798; 16448 at the start. Only GET_VALUES and GET_VALUES_RESULT can be longer than 271. Streams are not
/// limited.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE` (`bytes` is out of range, or the decoder is
/// corrupt), and nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_fcgi_set_max_discrete_bytes(decoder: *mut demuxbuf_fcgi_decoder, bytes: u32) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks.
        let Some(decoder) = (unsafe { decoder.as_mut() }) else {
            return DEMUXBUF_ERR_NULL;
        };
        status(decoder.load().ok_or(DEMUXBUF_ERR_RANGE).and_then(|mut rust| {
            rust.set_max_discrete_bytes(bytes).map_err(|_| DEMUXBUF_ERR_RANGE)?;
            decoder.store(rust);
            Ok(())
        }))
    })
}

/// Looks at the front of what is buffered: `bytes` bytes at `data` (NULL if there are none). A record is found and
/// judged once the eight bytes of its header are there.
///
/// Returns `DEMUXBUF_OK` and writes `*record`; `DEMUXBUF_ERR_PROTOCOL` and writes `error_code`, `request_id` and
/// `record_bytes` of `*record`. With `record_bytes` the next record begins behind these bytes; without, the error is
/// one of the connection. `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_RANGE` (the decoder was never
/// initialised, or is corrupt), `DEMUXBUF_ERR_POISONED` (a defect of the library).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_fcgi_peek(
    decoder: *const demuxbuf_fcgi_decoder,
    data: *const u8,
    bytes: u32,
    record: *mut demuxbuf_fcgi_record,
) -> i32 {
    // SAFETY: the same arguments, of which the module asks the same.
    unsafe { look(decoder, data, bytes, record, Decoder::peek) }
}

/// As `demuxbuf_fcgi_peek`, for hosts that take streams in pieces and every other record whole: a discrete record is
/// found once it is whole, with its padding. `need_more` of `*record` counts the bytes that are missing until then.
///
/// Returns the same as `demuxbuf_fcgi_peek`: `DEMUXBUF_OK`, `DEMUXBUF_ERR_PROTOCOL`, `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_RANGE`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_fcgi_peek_whole(
    decoder: *const demuxbuf_fcgi_decoder,
    data: *const u8,
    bytes: u32,
    record: *mut demuxbuf_fcgi_record,
) -> i32 {
    let is_found = guarded_or(false, || {
        // SAFETY: as the module asks.
        let (Some(decoder), Some(record)) = (unsafe { decoder.as_ref() }, unsafe { StructOut::whole(record) }) else {
            return false;
        };
        let Some(decoder) = decoder.load() else {
            return false;
        };
        // With 64-bit pointers no number of 32 bits is too large.
        if data.is_null() || bytes as usize > isize::MAX as usize {
            return false;
        }
        // SAFETY: not NULL, so valid for `bytes` bytes, as the module asks, which are no more than a slice can have.
        let data = unsafe { core::slice::from_raw_parts(data, bytes as usize) };
        match decoder.find_whole(data) {
            Some(head) => {
                record.write(demuxbuf_fcgi_record::of(&Next::Record(head)));
                true
            }
            None => false,
        }
    });
    if is_found {
        return DEMUXBUF_OK;
    }
    // SAFETY: the same arguments, of which the module asks the same.
    unsafe { peek_partial(decoder, data, bytes, record) }
}

/// A function of its own with the same arguments, so that the fast path is a leaf and jumps here.
///
/// # Safety
///
/// As the module asks of `demuxbuf_fcgi_peek_whole`.
#[inline(never)]
unsafe extern "C" fn peek_partial(
    decoder: *const demuxbuf_fcgi_decoder,
    data: *const u8,
    bytes: u32,
    record: *mut demuxbuf_fcgi_record,
) -> i32 {
    // SAFETY: the same arguments, of which the module asks the same.
    unsafe { look(decoder, data, bytes, record, Decoder::peek_whole) }
}

/// # Safety
///
/// As the module asks of `demuxbuf_fcgi_peek`.
unsafe fn look(
    decoder: *const demuxbuf_fcgi_decoder,
    data: *const u8,
    bytes: u32,
    record: *mut demuxbuf_fcgi_record,
    peek: impl FnOnce(&Decoder, &[u8]) -> Result<Next, Error>,
) -> i32 {
    // SAFETY: as the module asks.
    let Some(decoder) = (unsafe { decoder.as_ref() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    // SAFETY: as the module asks.
    let (record, data) = match unsafe { (StructOut::new(record), bytes_at(data, bytes as usize)) } {
        (Ok(record), Ok(data)) => (record, data),
        (Err(status), _) | (_, Err(status)) => return status,
    };
    let Some(decoder) = decoder.load() else {
        return DEMUXBUF_ERR_RANGE;
    };
    match guarded(|| peek(&decoder, data)) {
        Some(Ok(found)) => {
            record.write(demuxbuf_fcgi_record::of(&found));
            DEMUXBUF_OK
        }
        Some(Err(error)) => {
            let (request_id, record_bytes, error_code) =
                (error.request_id.into(), error.record_bytes, error.code as u32);
            record.write(demuxbuf_fcgi_record { request_id, record_bytes, error_code, ..Default::default() });
            DEMUXBUF_ERR_PROTOCOL
        }
        None => DEMUXBUF_ERR_POISONED,
    }
}

impl demuxbuf_fcgi_record {
    #[inline(always)]
    fn of(found: &Next) -> demuxbuf_fcgi_record {
        match *found {
            Next::NeedMore(need_more) => demuxbuf_fcgi_record { need_more, ..Default::default() },
            Next::Record(head) => {
                let RecordHeader { content_length, request_id, kind, padding_length, .. } = head;
                demuxbuf_fcgi_record {
                    record_bytes: head.record_bytes(),
                    content_length: content_length.into(),
                    request_id: request_id.into(),
                    kind,
                    padding_length,
                    form: head.form() as u8,
                    ..Default::default()
                }
            }
        }
    }
}
