//! Why a struct of settings is refused, and the message that names the cause.
//!
//! Every call that reads such a struct ends with the same two parameters, `message` and `message_bytes`: those that
//! make a pool or a shared pool, check a configuration, prepare a connection, attach one or change its policy, create a
//! tenant, or request a buffer.

use super::out::{Out, StructError, Text};
use super::size_t;
use super::status::*;
use super::tag::TAGS;
use core::ffi::c_char;
use core::fmt::{self, Write};
use demuxbuf::pool::{ConfigError, PoolError};
use demuxbuf::scheduler::SchedulerError;

/// Why a call with settings is refused.
pub(super) enum Refusal {
    Config(ConfigError),
    Struct(StructError),
    Pool(PoolError),
    /// Of a request, which has other names and wider numbers in C.
    Request {
        error: PoolError,
        class_index: u32,
        tenant: u64,
    },
    /// There are to be bytes at NULL.
    NoBytes,
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

impl From<PoolError> for Refusal {
    fn from(error: PoolError) -> Refusal {
        Refusal::Pool(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Config(error) => error.fmt(f),
            Refusal::Struct(error) => error.fmt(f),
            Refusal::Pool(error) => error.fmt(f),
            Refusal::Request { error: PoolError::Scheduler(error), class_index, tenant } => match error {
                SchedulerError::UnknownClass { classes, .. } => {
                    write!(f, "class_index is {class_index}; allowed is 0 to {}", classes - 1)
                }
                SchedulerError::StaleTenant => {
                    write!(f, "tenant is {tenant:#x}; allowed is 0 or a tenant of this pool")
                }
                error => error.fmt(f),
            },
            Refusal::Request { error: PoolError::DeadlinesOff, .. } => {
                f.write_str("has_deadline is not 0; allowed is 0, as lease_ns is 0 in the configuration")
            }
            Refusal::Request { error, .. } => error.fmt(f),
            Refusal::NoBytes => f.write_str("bytes is NULL; allowed is that only if length is 0"),
            Refusal::NoTag => write!(f, "{TAGS} pools are alive in the process; allowed are {TAGS}"),
            Refusal::NoMemory => f.write_str("no memory for the pool itself"),
        }
    }
}

impl Refusal {
    fn status(&self) -> i32 {
        match self {
            Refusal::Config(ConfigError::Deadlock { .. }) => DEMUXBUF_ERR_DEADLOCK,
            Refusal::Config(error) if !error.is_out_of_memory() => DEMUXBUF_ERR_CONFIG,
            Refusal::Struct(error) => error.status(),
            Refusal::Pool(error) | Refusal::Request { error, .. } => status_of(*error),
            Refusal::NoBytes => DEMUXBUF_ERR_NULL,
            Refusal::NoTag => DEMUXBUF_ERR_TOO_MANY_POOLS,
            Refusal::Config(_) | Refusal::NoMemory => DEMUXBUF_ERR_NO_MEMORY,
        }
    }
}

/// Where the host wants to read why a call is refused.
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
    #[inline]
    pub(super) unsafe fn new(at: *mut c_char, bytes: *mut size_t) -> Option<Message> {
        // SAFETY: NULL or valid for reads, as this function asks.
        let room = match unsafe { bytes.as_ref() } {
            Some(&room) => room,
            None if at.is_null() => 0,
            None => return None,
        };
        // SAFETY: NULL or valid for writes, as this function asks.
        Some(Message { at, room, needed: unsafe { Out::new(bytes) } })
    }

    /// Writes why the call is refused; returns the status that it has.
    #[cold]
    pub(super) fn refuse(self, refusal: &Refusal) -> i32 {
        // SAFETY: `at` is NULL, or valid for writes of `room` bytes, by the rule of `new`.
        let mut text = unsafe { Text::new(self.at, self.room) };
        // Writing a text never fails.
        let _ = write!(text, "{refusal}");
        if let Some(needed) = self.needed {
            needed.write(text.needed());
        }
        refusal.status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request is refused by the names of the C struct, with the numbers that the host gave.
    #[test]
    fn refusal_of_a_request_has_the_names_of_c() {
        for (error, status, sentence) in [
            (
                SchedulerError::UnknownClass { class: 255, classes: 3 },
                DEMUXBUF_ERR_CLASS,
                "class_index is 300; allowed is 0 to 2",
            ),
            (SchedulerError::StaleTenant, DEMUXBUF_ERR_STALE, "tenant is 0xabc; allowed is 0 or a tenant of this pool"),
            (
                SchedulerError::TooLarge { units: 4 },
                DEMUXBUF_ERR_TOO_LARGE,
                "4 units can never be granted: reserve and caps leave less",
            ),
            (SchedulerError::WaitersFull { waiters_max: 5 }, DEMUXBUF_ERR_TABLE_FULL, "all 5 waits are in use"),
        ] {
            let error = error.into();
            let refusal = Refusal::Request { error, class_index: 300, tenant: 0xabc };
            assert_eq!((refusal.to_string().as_str(), refusal.status()), (sentence, status));
        }
    }

    /// Memory that is missing is no wrong configuration.
    #[test]
    fn refusal_of_a_configuration_has_its_status() {
        let wrong = ConfigError::out_of_range("mode", 5, 0, 4);
        let missing = ConfigError::OutOfMemory { field: "buffers", bytes: 64 };
        for (refusal, status, sentence) in [
            (Refusal::Config(wrong), DEMUXBUF_ERR_CONFIG, "mode is 5; allowed is 0 to 4"),
            (Refusal::Config(missing), DEMUXBUF_ERR_NO_MEMORY, "buffers: no memory for 64 bytes"),
            (Refusal::NoMemory, DEMUXBUF_ERR_NO_MEMORY, "no memory for the pool itself"),
            (Refusal::Struct(StructError::Null), DEMUXBUF_ERR_NULL, "the struct is NULL"),
        ] {
            assert_eq!((refusal.to_string().as_str(), refusal.status()), (sentence, status));
        }
    }
}
