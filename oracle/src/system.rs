//! What operations are played on: the functions of a pool with receivers, as numbers, masks and bytes.

mod c;
mod rust;
mod shared;

pub use c::{CConnection, CPool};
pub use rust::{RustPool, RustScheduler};
pub(crate) use shared::{CArea, CExported, CSharedPool};

use crate::Facts;
use crate::receiving_system::Reason;
use demuxbuf::connection::{Event, Policy};
use demuxbuf::pool::{PoolConfig, PoolStats};
use demuxbuf::scheduler::ReclaimStats;
use demuxbuf::scheduler::{LeaseInfo, ReclaimKind, TenantConfig, TenantInfo, WaitInfo};
use demuxbuf_capi::{DEMUXBUF_ERR_NULL, DEMUXBUF_ERR_STALE};
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};

/// A byte; `None` if it is unknown, because the host claimed to have received it without writing it.
pub type Cell = Option<u8>;

/// What is to be done, and what is shown with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Mask of actions.
    pub actions: u32,
    /// Bytes that may be received now, or looked at.
    pub area: u32,
    /// The mark that is to be set; 0 if the step shows none.
    pub mark: u32,
    /// What is buffered, if nothing may be received now, and no mark is shown.
    pub data: Vec<Cell>,
}

/// What a connection is attached with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Class of its requests.
    pub class: u8,
    /// Comes back with notices.
    pub token: u64,
    /// The tenant; nothing for the default tenant.
    pub tenant: Option<u64>,
    /// The policy; nothing for that of the pool.
    pub policy: Option<Policy>,
    /// Whether to ask for a notice if the table is full.
    pub notify_if_full: bool,
    /// Whether its decoder only reports that it needs more.
    pub unknown_length: bool,
}

impl Attach {
    /// For the default tenant, with the policy of the pool.
    pub fn new(class: u8, token: u64) -> Attach {
        Attach { class, token, tenant: None, policy: None, notify_if_full: false, unknown_length: false }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Class of the request.
    pub class: u8,
    /// Which of the pool's sizes.
    pub size_index: u8,
    /// The tenant; nothing for the default tenant.
    pub tenant: Option<u64>,
    /// Comes back with the grant.
    pub token: u64,
    /// The lease has a deadline. What is requested of a scheduler alone always has one.
    pub has_deadline: bool,
}

impl Ask {
    /// A buffer of the default size, for the default tenant, without a deadline.
    pub fn new(class: u8, token: u64) -> Ask {
        Ask { class, size_index: 0, tenant: None, token, has_deadline: false }
    }
}

/// A holder that should return its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The buffer.
    pub lease: u64,
    /// What was given with the request.
    pub token: u64,
    /// What it should do.
    pub kind: ReclaimKind,
    /// The reason.
    pub lease_info: LeaseInfo,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The lease.
    Lease(u64),
    /// The wait.
    Wait(u64),
}

/// A buffer that leaves or enters a receiver with its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The buffer.
    pub lease: u64,
    /// Where the content starts.
    pub offset: u32,
    /// Length of the content.
    pub buffered_bytes: u32,
}

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A receiver has a buffer.
    Receiver {
        /// The receiver.
        id: u64,
        /// What was given at attach.
        token: u64,
        /// What is to be done.
        step: Step,
    },
    /// A connection can be attached.
    Attachable,
    /// The host has a buffer.
    Lease {
        /// The wait that ended.
        wait: u64,
        /// What was given with the request.
        token: u64,
        /// The buffer.
        lease: u64,
    },
    /// A pool that takes no new receivers has nothing left.
    Drained,
    /// The host has held a buffer for too long.
    Overdue {
        /// What was given with the request.
        token: u64,
        /// The buffer.
        lease: u64,
    },
}

/// Everything that is described of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Of its connection.
    pub facts: Facts,
    /// What was given at attach.
    pub token: u64,
    /// Class of its requests.
    pub class: u8,
    /// Age of its claim, in nanoseconds.
    pub age_ns: u64,
    /// Why it was shed, if it was.
    pub shed_reason: Option<Reason>,
    /// It waits until this many bytes are in the kernel; 0 if it does not.
    pub awaited_bytes: u32,
}

/// The status of a request for a size that a scheduler has not. Pools have one size.
pub(crate) const UNKNOWN_SIZE: i32 = -44 * 65536;

/// What a pool counts, and what a scheduler alone counts beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// A scheduler has the part of its own.
    pub pool: PoolStats,
    /// Zeros for a pool.
    pub reclaim: ReclaimStats,
}

impl Deref for Stats {
    type Target = PoolStats;

    fn deref(&self) -> &PoolStats {
        &self.pool
    }
}

impl DerefMut for Stats {
    fn deref_mut(&mut self) -> &mut PoolStats {
        &mut self.pool
    }
}

impl From<PoolStats> for Stats {
    fn from(pool: PoolStats) -> Stats {
        Stats { pool, reclaim: ReclaimStats::default() }
    }
}

/// What operations are played on. Errors are the numbers of the C API. A scheduler alone has no receivers and refuses
/// their calls, and what is requested of it has a deadline.
pub trait System {
    /// Whether the calls that are refused are counted.
    const COUNTS_REFUSALS: bool = true;
    /// Whether receivers share its memory.
    const HAS_RECEIVERS: bool = true;
    /// Whether a decoder can report what it could use at once.
    const REPORTS_USABLE: bool = true;
    /// Whether a request can name a size that is not there.
    const NAMES_SIZES: bool = true;

    /// Attaches a connection with bytes that are there already; returns its handle.
    fn attach(&mut self, _with: Attach, _bytes: &[u8]) -> Result<u64, i32> {
        Err(DEMUXBUF_ERR_NULL)
    }
    /// Attaches a connection to a buffer of the host's own; returns its handle.
    fn adopt(&mut self, _with: Attach, _content: Taken) -> Result<u64, i32> {
        Err(DEMUXBUF_ERR_NULL)
    }
    /// Writes to where a receiver receives, as much as there is room for.
    fn write(&mut self, _receiver: u64, _bytes: &[u8]) {}
    /// Reports an event.
    fn report(&mut self, _receiver: u64, _event: Event) -> Result<Step, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// Reports what the decoder took and lacks, and what it could use at once.
    fn decoded(&mut self, _receiver: u64, _consumed: u32, _need_more: u32, _usable: u32) -> Result<Step, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// Delivers bytes that the system keeps as long as it has some of them in place; returns how many were accepted.
    fn deliver(&mut self, _receiver: u64, _bytes: &[u8]) -> Result<(u32, Step), i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// Reports what the decoder took and lacks of what was delivered.
    fn delivered(&mut self, _receiver: u64, _consumed: u32, _need_more: u32) -> Result<Step, i32> {
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
    /// The tenant that a receiver requests for from now on.
    fn set_tenant(&mut self, _receiver: u64, _tenant: Option<u64>) -> Result<(), i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// The class that a receiver requests in from now on.
    fn set_class(&mut self, _receiver: u64, _class: u8) -> Result<(), i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// The policy that a receiver receives and parks by from now on.
    fn set_policy(&mut self, _receiver: u64, _policy: Policy) -> Result<Step, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// The memory of a buffer of the host's own.
    fn content(&mut self, _lease: u64) -> Result<Vec<Cell>, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// Describes a receiver.
    fn describe(&mut self, _receiver: u64) -> Result<Info, i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// Returns free pages to the operating system.
    fn trim(&mut self) {}
    /// Takes no new receivers from now on.
    fn drain(&mut self) {}
    /// Has other times from now on.
    fn set_times(&mut self, _frame_grace_ns: u64, _blocked_ns: u64) -> Result<(), i32> {
        Err(DEMUXBUF_ERR_NULL)
    }
    /// Uses this many buffers, and half of one, at most, from the next advance of the clock on.
    fn set_limit(&mut self, _buffers: u64) -> Result<(), i32> {
        Err(DEMUXBUF_ERR_NULL)
    }
    /// The holder of a buffer consumed bytes. In a pool, its deadline begins anew.
    fn progress(&mut self, _lease: u64, _bytes: u64) -> Result<(), i32> {
        Err(DEMUXBUF_ERR_STALE)
    }
    /// The holder that is to return its buffer now.
    fn poll_reclaim(&mut self) -> Option<Demand> {
        None
    }
    /// Asks for a buffer of the host's own.
    fn request(&mut self, ask: Ask) -> Result<Asked, i32>;
    /// Asks for a buffer of the host's own, at once or not at all.
    fn try_request(&mut self, ask: Ask) -> Result<Option<u64>, i32>;
    /// Releases a buffer of the host's own.
    fn release(&mut self, lease: u64) -> Result<(), i32>;
    /// Ends a wait of the host's own.
    fn cancel(&mut self, wait: u64) -> Result<(), i32>;
    /// The next notice of a grant.
    fn poll_notice(&mut self) -> Option<Notice>;
    /// Advances the clock.
    fn tick(&mut self, now_ns: u64);
    /// When the clock is to be advanced at the latest.
    fn poll_timeout(&mut self) -> Option<u64>;
    /// Takes a tenant in; returns its handle.
    fn create_tenant(&mut self, tenant_config: TenantConfig) -> Result<u64, i32>;
    /// Removes a tenant.
    fn remove_tenant(&mut self, tenant: u64) -> Result<(), i32>;
    /// Describes a tenant.
    fn describe_tenant(&mut self, tenant: u64) -> Result<TenantInfo, i32>;
    /// Describes a wait; `None` if the system does not.
    fn describe_wait(&self, _wait: u64) -> Option<Result<WaitInfo, i32>> {
        None
    }
    /// Describes a lease; `None` if the system does not.
    fn describe_lease(&self, _lease: u64) -> Option<Result<Option<LeaseInfo>, i32>> {
        None
    }
    /// The published bound.
    fn bypass_bound(&mut self) -> u64;
    /// Statistics.
    fn stats(&mut self) -> Stats;
    /// Checks what must always hold.
    fn check_invariants(&mut self) -> Result<(), String>;
}

/// A pool of one of several threads that share memory.
pub trait ThreadSystem: System + Debug + Sized {
    /// What all threads have.
    type Shared: Debug;
    /// A receiver that no thread has.
    type Exported: Debug;

    /// What this number of threads share, and the pool of each, with this configuration, which is allowed.
    fn of_threads(config: &PoolConfig, threads: u32) -> (Self::Shared, Vec<Self>);
    /// The pool of a thread whose pool has ended.
    fn of_thread(shared: &Self::Shared, thread: usize) -> Self;
    /// No newcomers are taken from now on; false if this is not possible without an end.
    fn close(shared: &Self::Shared) -> bool;
    /// Takes a receiver off this thread.
    ///
    /// # Errors
    ///
    /// The status of the refusal.
    fn export(&mut self, receiver: u64) -> Result<Self::Exported, i32>;
    /// Takes in a receiver that no thread has; its handle here.
    ///
    /// # Errors
    ///
    /// The status of the refusal; it can be imported elsewhere then.
    fn import(&mut self, exported: &mut Self::Exported) -> Result<u64, i32>;
    /// A thread that is to be signalled by this one.
    fn poll_wake(&mut self) -> Option<usize>;
    /// A thread that is to be signalled, asked by none of them.
    fn poll_wake_of_any(shared: &Self::Shared) -> Option<usize>;
    /// Checks what must always hold of what threads share.
    ///
    /// # Errors
    ///
    /// The rule that is broken.
    fn check_shared(shared: &Self::Shared) -> Result<(), String>;
}
