//! HTTP/2 frames for C.

use super::guard::{bytes_at, guarded, guarded_or};
use super::out::{Out, StructOut, growable, read_struct};
use super::pool::status;
use super::status::*;
use demuxbuf::framing::h2::{
    Decoder, Error, FrameHeader, MAX_FRAME_SIZE_MAX, MAX_FRAME_SIZE_MIN, Next, PREFACE, Side, common_frame,
};

/// What is decoded is sent by a client: a preface first.
pub const DEMUXBUF_H2_CLIENT: u32 = 0;
/// What is decoded is sent by a server.
pub const DEMUXBUF_H2_SERVER: u32 = 1;

/// The length that stands for the preface in `demuxbuf_h2_next.frame_bytes`.
pub const DEMUXBUF_H2_PREFACE_BYTES: u32 = 24;
const _: () = assert!(DEMUXBUF_H2_PREFACE_BYTES as usize == PREFACE.len());

/// How far one side's frames have come: a plain value, all-zero is a client's at its first byte. Private to the
/// library.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct demuxbuf_h2_decoder {
    side: u32,
    stage: u32,
    max_frame_size: u32,
    block_of: u32,
}

/// What stands at the front.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct demuxbuf_h2_next {
    /// `sizeof(demuxbuf_h2_next)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
    /// If non-zero, at least this many more bytes are needed before the frame can be identified.
    pub need_more: u32,
    /// Length of the whole preface or frame, with the frame's header, in bytes; 0 with `need_more`.
    pub frame_bytes: u32,
    /// Length of the frame's payload, in bytes.
    pub length: u32,
    /// Stream of the frame; 0 for the connection. With `DEMUXBUF_ERR_PROTOCOL`: the stream it is an error of.
    pub stream_id: u32,
    /// With `DEMUXBUF_ERR_PROTOCOL`: the error code to send (RFC 9113 section 7).
    pub error_code: u32,
    /// Type of the frame (RFC 9113 section 6).
    pub kind: u8,
    /// Flags of the frame.
    pub flags: u8,
    /// Not 0: it is the preface, not a frame.
    pub is_preface: u8,
    /// Always 0.
    pub reserved: u8,
}

growable!(demuxbuf_h2_next, 28);

const _: () = assert!(size_of::<demuxbuf_h2_decoder>() == 16 && align_of::<demuxbuf_h2_decoder>() == 4);

impl demuxbuf_h2_decoder {
    /// Whether it is a decoder that is behind the first frame, and in no header block. A corrupt decoder
    /// is not.
    #[inline(always)]
    fn is_among_frames(&self) -> bool {
        let max_frame_size_is = self.max_frame_size <= MAX_FRAME_SIZE_MAX - MAX_FRAME_SIZE_MIN;
        self.side <= DEMUXBUF_H2_SERVER && self.stage == 2 && self.block_of == 0 && max_frame_size_is
    }

    fn load(&self) -> Result<Decoder, i32> {
        let words = [self.side, self.stage, self.max_frame_size, self.block_of];
        Decoder::from_words(words).ok_or(DEMUXBUF_ERR_RANGE)
    }

    fn store(&mut self, decoder: Decoder) {
        [self.side, self.stage, self.max_frame_size, self.block_of] = decoder.to_words();
    }
}

/// Prepares a decoder for what `side` (`DEMUXBUF_H2_CLIENT` or `DEMUXBUF_H2_SERVER`) sends, from its first byte on.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE` for another side.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_h2_init(decoder: *mut demuxbuf_h2_decoder, side: u32) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks.
        let Some(place) = (unsafe { Out::new(decoder) }) else {
            return DEMUXBUF_ERR_NULL;
        };
        let side = match side {
            DEMUXBUF_H2_CLIENT => Side::Client,
            DEMUXBUF_H2_SERVER => Side::Server,
            _ => return DEMUXBUF_ERR_RANGE,
        };
        let mut decoder = demuxbuf_h2_decoder::default();
        decoder.store(Decoder::new(side));
        place.write(decoder);
        DEMUXBUF_OK
    })
}

/// Sets the largest payload, in bytes, that the receiver of these frames has announced and seen acknowledged: 16384
/// to 16777215 (RFC 9113 section 6.5.2); 16384 at the start.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE`, and nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_h2_set_max_frame_size(decoder: *mut demuxbuf_h2_decoder, bytes: u32) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks.
        let Some(decoder) = (unsafe { decoder.as_mut() }) else {
            return DEMUXBUF_ERR_NULL;
        };
        status(decoder.load().and_then(|mut rust| {
            rust.set_max_frame_size(bytes).map_err(|_| DEMUXBUF_ERR_RANGE)?;
            decoder.store(rust);
            Ok(())
        }))
    })
}

/// Looks at the front of what is buffered: `bytes` bytes at `data` (NULL if there are none). Changes nothing; a header
/// is judged as soon as its nine bytes are there.
///
/// Returns `DEMUXBUF_OK` and writes `*next`; `DEMUXBUF_ERR_PROTOCOL` and writes `error_code` of `*next`, and for an
/// error of one stream `stream_id` and `frame_bytes`: the next frame begins behind these bytes, without
/// `demuxbuf_h2_accept`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_RANGE` (the decoder was never
/// initialised, or is corrupt), `DEMUXBUF_ERR_POISONED` (a defect of the library).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_h2_peek(
    decoder: *const demuxbuf_h2_decoder,
    data: *const u8,
    bytes: u32,
    next: *mut demuxbuf_h2_next,
) -> i32 {
    // SAFETY: as the module asks.
    let Some(decoder) = (unsafe { decoder.as_ref() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    // SAFETY: as the module asks.
    let (next, data) = match unsafe { (StructOut::new(next), bytes_at(data, bytes as usize)) } {
        (Ok(next), Ok(data)) => (next, data),
        (Err(status), _) | (_, Err(status)) => return status,
    };
    let decoder = match decoder.load() {
        Ok(decoder) => decoder,
        Err(status) => return status,
    };
    answer(guarded(|| decoder.peek(data)), next)
}

/// Writes what was found, or the error that it is.
fn answer(found: Option<Result<Next, Error>>, next: StructOut<demuxbuf_h2_next>) -> i32 {
    match found {
        Some(Ok(found)) => {
            next.write(demuxbuf_h2_next::of(&found));
            DEMUXBUF_OK
        }
        Some(Err(error)) => {
            let (stream_id, frame_bytes, error_code) = (error.stream_id, error.frame_bytes, error.code as u32);
            next.write(demuxbuf_h2_next { stream_id, frame_bytes, error_code, ..demuxbuf_h2_next::default() });
            DEMUXBUF_ERR_PROTOCOL
        }
        None => DEMUXBUF_ERR_POISONED,
    }
}

/// `demuxbuf_h2_peek` and `demuxbuf_h2_accept` in one call, for hosts that take DATA in pieces and every other frame
/// whole: the frame in `*next` is accepted. DATA is found as soon as its header is there, any other frame once it is
/// whole; `need_more` of `*next` counts the bytes that are missing until then, and nothing is accepted.
///
/// Returns the same as `demuxbuf_h2_peek`: `DEMUXBUF_OK`, `DEMUXBUF_ERR_PROTOCOL`, `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_RANGE`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_h2_advance(
    decoder: *mut demuxbuf_h2_decoder,
    data: *const u8,
    bytes: u32,
    next: *mut demuxbuf_h2_next,
) -> i32 {
    let is_common = guarded_or(false, || {
        // SAFETY: as the module asks.
        let (Some(decoder), Some(next)) = (unsafe { decoder.as_ref() }, unsafe { StructOut::whole(next) }) else {
            return false;
        };
        // With 64-bit pointers no number of 32 bits is too large.
        if data.is_null() || bytes as usize > isize::MAX as usize || !decoder.is_among_frames() {
            return false;
        }
        // SAFETY: not NULL, so valid for `bytes` bytes, as the module asks, which are no more than a slice can have.
        let data = unsafe { core::slice::from_raw_parts(data, bytes as usize) };
        match common_frame(data, decoder.max_frame_size + MAX_FRAME_SIZE_MIN) {
            Some(head) => {
                next.write(demuxbuf_h2_next::of(&Next::Frame(head)));
                true
            }
            None => false,
        }
    });
    if is_common {
        return DEMUXBUF_OK;
    }
    // SAFETY: the same arguments, of which the module asks the same.
    unsafe { advance_slowly(decoder, data, bytes, next) }
}

/// A function of its own with the same arguments, so that the fast path is a leaf and jumps here.
///
/// # Safety
///
/// As the module asks of `demuxbuf_h2_advance`.
#[inline(never)]
unsafe extern "C" fn advance_slowly(
    decoder: *mut demuxbuf_h2_decoder,
    data: *const u8,
    bytes: u32,
    next: *mut demuxbuf_h2_next,
) -> i32 {
    // SAFETY: as the module asks.
    let Some(decoder) = (unsafe { decoder.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    // SAFETY: as the module asks.
    let (next, data) = match unsafe { (StructOut::new(next), bytes_at(data, bytes as usize)) } {
        (Ok(next), Ok(data)) => (next, data),
        (Err(status), _) | (_, Err(status)) => return status,
    };
    let mut rust = match decoder.load() {
        Ok(rust) => rust,
        Err(status) => return status,
    };
    let found = guarded(|| rust.advance(data));
    if let Some(Ok(_)) = found {
        decoder.store(rust);
    }
    answer(found, next)
}

/// Moves on behind what `demuxbuf_h2_peek` wrote to `*next`: the next look is behind that frame.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`,
/// `DEMUXBUF_ERR_RANGE` (the decoder was never initialised, or is corrupt, or no look of
/// this decoder can have written `*next`), and nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_h2_accept(decoder: *mut demuxbuf_h2_decoder, next: *const demuxbuf_h2_next) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks.
        let Some(decoder) = (unsafe { decoder.as_mut() }) else {
            return DEMUXBUF_ERR_NULL;
        };
        // SAFETY: as the module asks.
        let next = match unsafe { read_struct(next, demuxbuf_h2_next::default()) } {
            Ok(next) => next,
            Err(error) => return error.status(),
        };
        let (mut rust, found) = match decoder.load() {
            Ok(rust) => (rust, next.found()),
            Err(status) => return status,
        };
        if !rust.could_find(&found) {
            return DEMUXBUF_ERR_RANGE;
        }
        rust.accept(&found);
        decoder.store(rust);
        DEMUXBUF_OK
    })
}

/// Checks the pad length of a frame with the padded flag: the first byte of its payload. Other frames have none, and
/// pass.
///
/// Thread rule: any thread.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_PROTOCOL` if the padding does not leave room for what the frame must carry (RFC
/// 9113 sections 6.1, 6.2, 6.6), a PROTOCOL_ERROR of the connection; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_STRUCT_SIZE`;
/// `DEMUXBUF_ERR_UNKNOWN_FIELD`; `DEMUXBUF_ERR_RANGE` if `*next`
/// is not a frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_h2_check_padding(next: *const demuxbuf_h2_next, pad_length: u8) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks.
        let next = match unsafe { read_struct(next, demuxbuf_h2_next::default()) } {
            Ok(next) => next,
            Err(error) => return error.status(),
        };
        match next.found() {
            Next::Frame(head) if head.check_padding(pad_length).is_ok() => DEMUXBUF_OK,
            Next::Frame(_) => DEMUXBUF_ERR_PROTOCOL,
            Next::NeedMore(_) | Next::Preface => DEMUXBUF_ERR_RANGE,
        }
    })
}

impl demuxbuf_h2_next {
    fn of(found: &Next) -> demuxbuf_h2_next {
        match *found {
            Next::NeedMore(need_more) => demuxbuf_h2_next { need_more, ..Default::default() },
            Next::Preface => {
                demuxbuf_h2_next { frame_bytes: DEMUXBUF_H2_PREFACE_BYTES, is_preface: 1, ..Default::default() }
            }
            Next::Frame(head) => demuxbuf_h2_next {
                frame_bytes: head.frame_bytes(),
                length: head.length,
                stream_id: head.stream_id,
                kind: head.kind,
                flags: head.flags,
                ..Default::default()
            },
        }
    }

    fn found(&self) -> Next {
        if self.need_more != 0 {
            Next::NeedMore(self.need_more)
        } else if self.is_preface != 0 {
            Next::Preface
        } else {
            Next::Frame(FrameHeader {
                length: self.length,
                stream_id: self.stream_id,
                kind: self.kind,
                flags: self.flags,
            })
        }
    }
}
