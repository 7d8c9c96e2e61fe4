//! Making objects for the host, and the message of one that is refused.

use super::guard::guarded;
use super::out::{Out, StructError, Text};
use super::size_t;
use super::status::*;
use super::tag::{TAGS, Tag};
use core::ffi::c_char;
use core::fmt::{self, Write};
use demuxbuf::alloc_util::{TryArc, try_box};
use demuxbuf::pool::ConfigError;

/// Why an object is refused.
pub(super) enum Refusal {
    Config(ConfigError),
    Struct(StructError),
    NoTag,
    /// For the object itself, or what it shares.
    NoMemory,
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Refusal {
        Refusal::Config(error)
    }
}

impl From<StructError> for Refusal {
    fn from(error: StructError) -> Refusal {
        Refusal::Struct(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Config(error) => error.fmt(f),
            Refusal::Struct(error) => error.fmt(f),
            Refusal::NoTag => write!(f, "{TAGS} pools are alive in the process; allowed are {TAGS}"),
            Refusal::NoMemory => f.write_str("no memory for the pool itself"),
        }
    }
}

impl Refusal {
    fn status(&self) -> i32 {
        match self {
            Refusal::Config(error) if !error.is_out_of_memory() => DEMUXBUF_ERR_CONFIG,
            Refusal::Struct(error) => error.status(),
            Refusal::NoTag => DEMUXBUF_ERR_TOO_MANY_POOLS,
            Refusal::Config(_) | Refusal::NoMemory => DEMUXBUF_ERR_NO_MEMORY,
        }
    }
}

/// A tag for a pool, and for the pools of its threads.
pub(super) fn new_tag() -> Result<TryArc<Tag>, Refusal> {
    TryArc::try_new(Tag::take().ok_or(Refusal::NoTag)?).ok_or(Refusal::NoMemory)
}

/// Makes an object for the host, or writes to `message` why it is refused.
pub(super) fn new_object<T>(make: impl FnOnce() -> Result<T, Refusal>, place: Out<*mut T>, message: Message) -> i32 {
    let made = guarded(|| {
        let object = make().and_then(|object| try_box(object).ok_or(Refusal::NoMemory));
        object.map(Box::into_raw).map_err(|refusal| {
            message.write(&refusal);
            refusal.status()
        })
    });
    match made {
        Some(Ok(made)) => {
            place.write(made);
            DEMUXBUF_OK
        }
        Some(Err(status)) => status,
        None => DEMUXBUF_ERR_POISONED,
    }
}

/// Where the host wants to read why an object is refused.
pub(super) struct Message {
    at: *mut c_char,
    room: usize,
    /// The length that the message has, with its closing 0; none if the host does not ask.
    needed: Option<Out<size_t>>,
}

impl Message {
    /// `None` if there is an array without its size.
    ///
    /// # Safety
    ///
    /// Until the call returns: `bytes` is NULL or valid for reads and writes, and `at` is NULL or valid for writes of
    /// `*bytes` bytes.
    pub(super) unsafe fn new(at: *mut c_char, bytes: *mut size_t) -> Option<Message> {
        // SAFETY: NULL or valid, as this function asks.
        let room = match unsafe { bytes.as_ref() } {
            Some(&room) => room,
            None if at.is_null() => 0,
            None => return None,
        };
        // SAFETY: as this function asks.
        Some(Message { at, room, needed: unsafe { Out::new(bytes) } })
    }

    fn write(self, refusal: &Refusal) {
        // SAFETY: valid for writes, by the rule of `new`.
        let mut text = unsafe { Text::new(self.at, self.room) };
        // Writing a text never fails.
        let _ = write!(text, "{refusal}");
        if let Some(needed) = self.needed {
            needed.write(text.needed());
        }
    }
}
