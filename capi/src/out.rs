//! Memory of the host's: what a call writes, and structs whose size the host gives.
//!
//! # The prefix rule
//!
//! Configurations, policies, requests, statistics, infos, notices, h2 frames and FastCGI records begin with
//! `struct_size`, so that a later version can append fields.
//!
//! - **In**: fields that the host's struct is too short for have their defaults. Bytes behind those that this library
//!   knows must be 0.
//! - **Out**: the shorter of both structs is written, and `struct_size` is set to the number of bytes written.
//!
//! A struct that is shorter than its first version, or longer than [`STRUCT_BYTES_MAX`], is refused. The upper limit
//! keeps an uninitialised `struct_size` from being taken for a length.

use super::status::{DEMUXBUF_ERR_NULL, DEMUXBUF_ERR_STRUCT_SIZE, DEMUXBUF_ERR_UNKNOWN_FIELD};
use core::ffi::c_char;
use core::fmt;
use core::ptr::NonNull;

/// The largest `struct_size` that is taken, in bytes.
pub(super) const STRUCT_BYTES_MAX: usize = 4096;

/// One object of the host's that a call writes as a whole. It may be uninitialised before.
pub(super) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// The object at `place`; `None` for NULL.
    ///
    /// # Safety
    ///
    /// `place` is NULL, or aligned and valid for writes until the `Out` is dropped.
    pub(super) unsafe fn new(place: *mut T) -> Option<Out<T>> {
        NonNull::new(place).map(Out)
    }

    #[inline(always)]
    pub(super) fn write(self, value: T) {
        // SAFETY: valid for writes, by the rule of `new`.
        unsafe { self.0.write(value) }
    }
}

/// A struct that can grow at its end.
///
/// # Safety
///
/// The type is `repr(C)`, has no padding, any initialised bytes are a value of it, and its first field is
/// `struct_size: u32`.
pub(super) unsafe trait Growable: Copy {
    /// Size of its first version, in bytes.
    const FIRST_BYTES: usize;
}

/// Makes a C struct `Growable`: the size of its first version is given. The default is all-zero but for `struct_size`.
macro_rules! growable {
    ($name:ident, $first_bytes:expr) => {
        const _: () = assert!(size_of::<$name>() >= $first_bytes);

        // SAFETY: the struct is `repr(C)` and begins with `struct_size`. Its fields are integers, raw pointers, and
        // structs of them; where one would need padding, there is a reserved field (seen by the test
        // `structs_that_grow_have_no_padding`, with 64-bit pointers).
        unsafe impl $crate::out::Growable for $name {
            const FIRST_BYTES: usize = $first_bytes;
        }

        impl Default for $name {
            fn default() -> $name {
                // SAFETY: all-zero is a value of a `Growable`.
                let zero: $name = unsafe { core::mem::zeroed() };
                $name { struct_size: size_of::<$name>() as u32, ..zero }
            }
        }
    };
}
pub(super) use growable;

/// Why a struct of the host's is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StructError {
    Null,
    Size {
        given: u32,
        min: usize,
    },
    /// This byte, or this reserved field at it, is not 0.
    Unknown {
        at: usize,
        value: u32,
    },
}

impl StructError {
    pub(super) fn status(self) -> i32 {
        match self {
            StructError::Null => DEMUXBUF_ERR_NULL,
            StructError::Size { .. } => DEMUXBUF_ERR_STRUCT_SIZE,
            StructError::Unknown { .. } => DEMUXBUF_ERR_UNKNOWN_FIELD,
        }
    }
}

impl fmt::Display for StructError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            StructError::Null => f.write_str("the struct is NULL"),
            StructError::Size { given, min } => {
                write!(f, "struct_size is {given}; allowed is {min} to {STRUCT_BYTES_MAX}")
            }
            StructError::Unknown { at, value } => {
                write!(f, "the field at byte {at}, which this library does not know, is {value}; allowed is 0")
            }
        }
    }
}

/// The size that the host gives for its struct, in bytes.
///
/// # Safety
///
/// `place` is aligned, and its first field readable and initialised.
unsafe fn given_bytes<T: Growable>(place: NonNull<T>) -> Result<usize, StructError> {
    // SAFETY: a `Growable` begins with this field, and it is initialised.
    let given = unsafe { place.cast::<u32>().read() };
    if (T::FIRST_BYTES..=STRUCT_BYTES_MAX).contains(&(given as usize)) {
        Ok(given as usize)
    } else {
        Err(StructError::Size { given, min: T::FIRST_BYTES })
    }
}

/// Whether there is a struct of an allowed size at `place`.
///
/// # Safety
///
/// `place` is NULL, or aligned, with its `struct_size` readable and initialised.
#[inline(always)]
pub(super) unsafe fn has_allowed_size<T: Growable>(place: *const T) -> bool {
    // SAFETY: as this function asks.
    NonNull::new(place.cast_mut()).is_some_and(|place| unsafe { given_bytes(place) }.is_ok())
}

/// Copies the host's struct. What it is too short for is as in `default`; `struct_size` is this library's size then.
///
/// # Safety
///
/// `place` is NULL, or aligned, with its `struct_size` readable and initialised; if that is an allowed size, that many
/// bytes are readable and initialised.
pub(super) unsafe fn read_struct<T: Growable>(place: *const T, default: T) -> Result<T, StructError> {
    let place = NonNull::new(place.cast_mut()).ok_or(StructError::Null)?;
    // SAFETY: as this function asks.
    let given = unsafe { given_bytes(place)? };
    for at in size_of::<T>()..given {
        // SAFETY: `at` is below `struct_size`.
        let value = unsafe { place.cast::<u8>().add(at).read() };
        if value != 0 {
            return Err(StructError::Unknown { at, value: value.into() });
        }
    }
    let mut value = default;
    // SAFETY: as many bytes as both have are copied, and any bytes are a value of a `Growable`. The first field is
    // written as the integer that it is.
    unsafe {
        let copy = (&raw mut value).cast::<u8>();
        core::ptr::copy_nonoverlapping(place.cast::<u8>().as_ptr(), copy, given.min(size_of::<T>()));
        (&raw mut value).cast::<u32>().write(size_of::<T>() as u32);
    }
    Ok(value)
}

/// A struct of the host's that a call writes by the prefix rule. Of it, only `struct_size` has to be initialised.
pub(super) struct StructOut<T> {
    place: NonNull<T>,
    /// How much of it is written: at most the size of either struct.
    bytes: usize,
}

impl<T: Growable> StructOut<T> {
    /// The struct at `place`, or the status of the refusal.
    ///
    /// # Safety
    ///
    /// `place` is NULL, or aligned, with its `struct_size` readable and initialised; if that is an allowed size, that
    /// many bytes are valid for writes until the `StructOut` is dropped.
    pub(super) unsafe fn new(place: *mut T) -> Result<StructOut<T>, i32> {
        let place = NonNull::new(place).ok_or(DEMUXBUF_ERR_NULL)?;
        // SAFETY: as this function asks.
        let given = unsafe { given_bytes(place) }.map_err(StructError::status)?;
        Ok(StructOut { place, bytes: given.min(size_of::<T>()) })
    }

    /// The struct at `place`, if it has the size of this library's: for a fast path, which then writes it whole.
    ///
    /// # Safety
    ///
    /// As for `new`.
    #[inline(always)]
    pub(super) unsafe fn whole(place: *mut T) -> Option<Out<T>> {
        let place = NonNull::new(place)?;
        // SAFETY: a `Growable` begins with this field, and it is initialised.
        let given = unsafe { place.cast::<u32>().read() };
        (given as usize == size_of::<T>()).then_some(Out(place))
    }

    /// Writes the first bytes of `value`, and their number to `struct_size`.
    pub(super) fn write(self, value: T) {
        // SAFETY: `bytes` is at most the size of `value`, and at most what is valid for writes by the rule of `new`.
        unsafe {
            let to = self.place.cast::<u8>().as_ptr();
            core::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), to, self.bytes);
            self.place.cast::<u32>().write(self.bytes as u32);
        }
    }
}

/// A text in an array of the host's: as much of what is written as there is room for, always with a closing 0.
pub(super) struct Text {
    at: *mut u8,
    room: usize,
    length: usize,
}

impl Text {
    /// # Safety
    ///
    /// `at` is NULL, or valid for writes of `room` bytes until the `Text` is dropped.
    pub(super) unsafe fn new(at: *mut c_char, room: usize) -> Text {
        Text { at: at.cast(), room: if at.is_null() { 0 } else { room }, length: 0 }
    }

    /// The room for the whole text with its closing 0, in bytes.
    pub(super) fn needed(&self) -> usize {
        self.length + 1
    }

    fn append(&mut self, text: &[u8]) {
        let start = self.length;
        self.length += text.len();
        if let Some(last) = self.room.checked_sub(1).filter(|&last| start <= last) {
            let count = text.len().min(last - start);
            // SAFETY: `start + count` is at most `last`, the last byte of the host's array.
            unsafe {
                core::ptr::copy_nonoverlapping(text.as_ptr(), self.at.add(start), count);
                self.at.add(start + count).write(0);
            }
        }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;
    use core::mem::MaybeUninit;

    /// What the library knows after it grew by two fields.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(C)]
    struct Grown {
        struct_size: u32,
        first: u32,
        second: u32,
        third: u32,
    }

    // SAFETY: four integers of one size have no padding.
    unsafe impl Growable for Grown {
        const FIRST_BYTES: usize = 8;
    }

    const DEFAULT: Grown = Grown { struct_size: 16, first: 1, second: 2, third: 3 };

    fn read(words: &[u32]) -> Result<Grown, StructError> {
        // SAFETY: each caller gives at least `struct_size` bytes, or a size that is refused.
        unsafe { read_struct(words.as_ptr().cast(), DEFAULT) }
    }

    #[test]
    fn read_struct_takes_defaults_for_missing_fields() {
        assert_eq!(read(&[8, 70]), Ok(Grown { first: 70, ..DEFAULT }));
        assert_eq!(read(&[12, 70, 80]), Ok(Grown { first: 70, second: 80, ..DEFAULT }));
        assert_eq!(read(&[16, 70, 80, 90]), Ok(Grown { first: 70, second: 80, third: 90, ..DEFAULT }));
    }

    #[test]
    fn read_struct_takes_only_zeros_behind_its_end() {
        assert_eq!(read(&[24, 70, 80, 90, 0, 0]), Ok(Grown { first: 70, second: 80, third: 90, ..DEFAULT }));
        let error = read(&[24, 70, 80, 90, 0, u32::from_ne_bytes([0, 0, 5, 0])]).unwrap_err();
        assert_eq!(error, StructError::Unknown { at: 22, value: 5 });
        assert_eq!(error.status(), DEMUXBUF_ERR_UNKNOWN_FIELD);
        let text = "the field at byte 22, which this library does not know, is 5; allowed is 0";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn read_struct_refuses_sizes_that_no_version_has() {
        for given in [0, 7, 4097, u32::MAX] {
            let error = read(&[given]).unwrap_err();
            assert_eq!(error, StructError::Size { given, min: 8 });
            assert_eq!(error.status(), DEMUXBUF_ERR_STRUCT_SIZE);
            assert_eq!(error.to_string(), format!("struct_size is {given}; allowed is 8 to 4096"));
        }
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read_struct(core::ptr::null(), DEFAULT) }, Err(StructError::Null));
    }

    #[test]
    fn text_is_cut_at_the_end_of_its_array() {
        for (room, expected) in [
            (0, *b"........."),
            (1, *b"\0........"),
            (3, *b"ab\0......"),
            (4, *b"abc\0....."),
            (6, *b"abcde\0..."),
            (9, *b"abcde\0..."),
        ] {
            let mut array = [b'.'; 9];
            // SAFETY: the array has 9 bytes.
            let mut text = unsafe { Text::new(array.as_mut_ptr().cast(), room) };
            text.write_str("abc").and_then(|()| text.write_str("de")).expect("a text takes everything");
            assert_eq!(text.needed(), 6);
            assert_eq!(array, expected, "room for {room}");
        }
    }

    #[test]
    fn struct_out_writes_the_shorter_of_both() {
        for (given, expected) in
            [(8, [8, 1, 77, 77, 77]), (12, [12, 1, 2, 77, 77]), (16, [16, 1, 2, 3, 77]), (20, [16, 1, 2, 3, 77])]
        {
            let mut words = [given, 77, 77, 77, 77];
            // SAFETY: the array has 20 bytes, which no size here is above.
            let out = unsafe { StructOut::<Grown>::new(words.as_mut_ptr().cast()) };
            out.expect("the size is allowed").write(DEFAULT);
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn struct_out_reads_nothing_but_the_size() {
        let mut place = MaybeUninit::<Grown>::uninit();
        // SAFETY: the first field is written, and nothing else has to be.
        let written = unsafe {
            place.as_mut_ptr().cast::<u32>().write(16);
            StructOut::new(place.as_mut_ptr()).expect("the size is allowed").write(DEFAULT);
            place.assume_init()
        };
        assert_eq!(written, DEFAULT);
    }

    /// For the fast paths: a struct of another size is left to the slow path, which writes as much of it as there is.
    #[test]
    fn whole_struct_has_the_size_of_this_library() {
        for (given, is_allowed) in
            [(0, false), (7, false), (8, true), (12, true), (16, true), (20, true), (4097, false)]
        {
            let mut words = [given, 77, 77, 77, 77];
            let place = words.as_mut_ptr().cast::<Grown>();
            // SAFETY: the array has 20 bytes; of a size that is refused nothing else is used.
            let (has_allowed_size, whole) = unsafe { (has_allowed_size(place), StructOut::whole(place)) };
            assert_eq!((has_allowed_size, whole.is_some()), (is_allowed, given == 16), "{given} bytes");
            if let Some(out) = whole {
                out.write(DEFAULT);
                assert_eq!(words, [16, 1, 2, 3, 77]);
            }
        }
        let null = core::ptr::null_mut::<Grown>();
        // SAFETY: NULL is allowed.
        assert!(unsafe { !has_allowed_size(null) && StructOut::whole(null).is_none() });
    }

    #[test]
    fn struct_out_refuses_sizes_that_no_version_has() {
        for given in [0, 7, 4097, u32::MAX] {
            let mut words = [given, 77];
            // SAFETY: of a size that is refused nothing else is used.
            let out = unsafe { StructOut::<Grown>::new(words.as_mut_ptr().cast()) };
            assert_eq!(out.err(), Some(DEMUXBUF_ERR_STRUCT_SIZE));
            assert_eq!(words, [given, 77]);
        }
        // SAFETY: NULL is allowed.
        let out = unsafe { StructOut::<Grown>::new(core::ptr::null_mut()) };
        assert_eq!(out.err(), Some(DEMUXBUF_ERR_NULL));
    }
}
