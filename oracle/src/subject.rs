//! What can be played on: the functions of a pool with receivers, as numbers, masks and bytes.

mod c;
mod rust;

pub use c::{CConnection, CReceivers};
pub use rust::{RustPool, RustReceivers};

use crate::Facts;
use demuxbuf::connection::Event;
use demuxbuf::ffi::{DEMUXBUF_ERR_NULL, DEMUXBUF_ERR_STALE};
use std::collections::BTreeMap;

/// A byte; `None` if nobody can know it, because the host claimed to have received it without writing it.
pub type Cell = Option<u8>;

/// Statistics by name. A subject names what it has.
pub type Counts = BTreeMap<&'static str, u64>;

/// What is to be done, and what is shown with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Mask of actions.
    pub actions: u32,
    /// Bytes that may be received now.
    pub area: u32,
    /// What is buffered, if nothing may be received now.
    pub data: Vec<Cell>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The lease.
    Lease(u64),
    /// The wait.
    Wait(u64),
}

/// A buffer that leaves or enters a receiver with what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The buffer.
    pub lease: u64,
    /// Where the content starts.
    pub offset: u32,
    /// Length of the content.
    pub level: u32,
}

/// A hand-over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// A receiver has a buffer.
    Receiver {
        /// The receiver.
        id: u64,
        /// What was given at attach.
        token: u64,
        /// What is to be done.
        step: Step,
    },
    /// The host has a buffer.
    Lease {
        /// The wait that ended.
        wait: u64,
        /// What was given with the request.
        token: u64,
        /// The buffer.
        lease: u64,
    },
}

/// Everything that is told of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Of its connection.
    pub facts: Facts,
    /// What was given at attach.
    pub token: u64,
    /// Class of its requests.
    pub class: u8,
    /// Age of its wait, in nanoseconds.
    pub age_ns: u64,
    /// Grants that passed its wait.
    pub passed: u64,
}

/// What can be played on. Errors are the numbers of the C API. A pool alone has no receivers and refuses their calls.
pub trait Subject {
    /// Attaches a connection with bytes that are there already; returns its handle.
    fn attach(&mut self, _class: u8, _token: u64, _bytes: &[u8]) -> Result<u64, i32> {
        Err(DEMUXBUF_ERR_NULL)
    }
    /// Attaches a connection to a buffer of the host's own; returns its handle.
    fn adopt(&mut self, _class: u8, _token: u64, _content: Taken) -> Result<u64, i32> {
        Err(DEMUXBUF_ERR_NULL)
    }
    /// Writes to where a receiver receives, as much as there is room for.
    fn write(&mut self, _receiver: u64, _bytes: &[u8]) {}
    /// Reports an event.
    fn report(&mut self, _receiver: u64, _event: Event) -> Result<Step, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// Reports what the decoder took and lacks.
    fn decoded(&mut self, _receiver: u64, _consumed: u32, _need_more: u32) -> Result<Step, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// What is to be done now.
    fn pending(&mut self, _receiver: u64) -> Result<Step, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// Takes the buffer away from a receiver.
    fn take(&mut self, _receiver: u64) -> Result<Taken, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// The memory of a buffer of the host's own.
    fn content(&mut self, _lease: u64) -> Result<Vec<Cell>, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// Tells of a receiver.
    fn describe(&mut self, _receiver: u64) -> Result<Info, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// Gives free pages back.
    fn give_back_pages(&mut self) {}
    /// Asks for a buffer of the host's own.
    fn request(&mut self, class: u8, token: u64) -> Result<Asked, i32>;
    /// Gives a buffer of the host's own back.
    fn release(&mut self, lease: u64) -> Result<(), i32>;
    /// Ends a wait of the host's own.
    fn cancel(&mut self, wait: u64) -> Result<(), i32>;
    /// Who has a buffer now.
    fn poll_grant(&mut self) -> Option<Granted>;
    /// Tells the time.
    fn tick(&mut self, now_ns: u64);
    /// Age in nanoseconds, grants that passed and whether a buffer is assigned; `None` if the subject does not tell.
    fn describe_wait(&self, wait: u64) -> Option<Result<(u64, u64, bool), i32>>;
    /// The published bound.
    fn passed_max(&mut self, class: u8) -> Result<u64, i32>;
    /// Statistics.
    fn counts(&mut self) -> Counts;
    /// Checks what must always hold.
    fn check_invariants(&mut self) -> Result<(), String>;
}
