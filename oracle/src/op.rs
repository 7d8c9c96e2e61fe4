//! What a host may do.

use demuxbuf::connection::{Event, Policy};

/// Which of the handles of a kind that were given out so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleRef {
    /// One of those in force, counted from the oldest and around.
    Live(u8),
    /// One of those that are over.
    Dead(u8),
    /// A number that was never given out.
    Unknown,
}

/// One thing that a host may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Attach a connection, with this many bytes that are there already.
    Attach {
        /// Class of its requests.
        class: u8,
        /// Bytes that are there already.
        bytes: u16,
        /// The tenant that it requests for; nothing for the default tenant.
        tenant: Option<HandleRef>,
        /// Its policy; nothing for that of the pool.
        policy: Option<Policy>,
        /// Whether to ask for a notice if the table is full.
        notify_if_full: bool,
        /// Whether its decoder only reports that it needs more.
        unknown_length: bool,
    },
    /// Attach a connection to a buffer of the host's own.
    Adopt {
        /// Class of its requests.
        class: u8,
        /// The buffer.
        lease: HandleRef,
        /// Where the content starts.
        offset: u32,
        /// Length of the content.
        buffered_bytes: u32,
    },
    /// Report an event; for `Received`, the bytes are written first to where they belong.
    Report {
        /// The receiver. A connection alone ignores it.
        receiver: HandleRef,
        /// The event.
        event: Event,
    },
    /// Do one of the actions that are pending, and report how it came out.
    Obey {
        /// The receiver. A connection alone ignores it.
        receiver: HandleRef,
        /// Which of the pending actions.
        choice: u8,
        /// Decides how it comes out.
        amount: u32,
    },
    /// Report what the decoder took and lacks.
    Decoded {
        /// The receiver.
        receiver: HandleRef,
        /// Bytes taken.
        consumed: u32,
        /// Bytes lacking.
        need_more: u32,
        /// Bytes that it could use at once; 0 for as many as are lacking.
        usable: u32,
    },
    /// Deliver the next bytes of its peer, from memory of the host's own.
    Deliver {
        /// The receiver.
        receiver: HandleRef,
        /// How many bytes.
        bytes: u16,
    },
    /// Report what the decoder took and lacks of what was delivered.
    Delivered {
        /// The receiver.
        receiver: HandleRef,
        /// Bytes taken.
        consumed: u32,
        /// Bytes lacking.
        need_more: u32,
    },
    /// Take the buffer away from a receiver.
    Take {
        /// The receiver.
        receiver: HandleRef,
    },
    /// Request for a tenant from now on.
    SetTenant {
        /// The receiver.
        receiver: HandleRef,
        /// The tenant; nothing for the default tenant.
        tenant: Option<HandleRef>,
    },
    /// Request in another class from now on.
    SetClass {
        /// The receiver.
        receiver: HandleRef,
        /// The class.
        class: u8,
    },
    /// Receive and park by another policy from now on.
    SetPolicy {
        /// The receiver. A connection alone ignores it.
        receiver: HandleRef,
        /// The policy.
        policy: Policy,
    },
    /// Ask for a buffer of the host's own.
    Request {
        /// Class of the request.
        class: u8,
        /// Which of the pool's sizes.
        size_index: u8,
        /// The tenant; nothing for the default tenant.
        tenant: Option<HandleRef>,
        /// Whether the lease has a deadline.
        has_deadline: bool,
    },
    /// Ask for a buffer of the host's own, at once or not at all.
    TryRequest {
        /// Class of the request.
        class: u8,
        /// Which of the pool's sizes.
        size_index: u8,
        /// The tenant; nothing for the default tenant.
        tenant: Option<HandleRef>,
        /// Whether the lease has a deadline.
        has_deadline: bool,
    },
    /// Release a buffer of the host's own.
    Release {
        /// The buffer.
        lease: HandleRef,
    },
    /// End a wait of the host's own.
    Cancel {
        /// The wait.
        wait: HandleRef,
    },
    /// Poll for a grant.
    PollNotice,
    /// The holder of a buffer of the host's own consumed bytes.
    Progress {
        /// The buffer.
        lease: HandleRef,
        /// Bytes consumed.
        bytes: u64,
    },
    /// Poll for a holder that is to return its buffer. Receivers do this by themselves.
    PollReclaim,
    /// Take a tenant in.
    CreateTenant {
        /// Its share of the grants.
        weight: u32,
        /// Buffers it gets before other tenants.
        guaranteed: u32,
        /// The most buffers it may have.
        cap: u32,
    },
    /// Remove a tenant.
    RemoveTenant {
        /// The tenant.
        tenant: HandleRef,
    },
    /// Advance the clock.
    Tick {
        /// Nanoseconds.
        now_ns: u64,
    },
    /// Advance the clock by this much.
    Later {
        /// Nanoseconds.
        ns: u64,
    },
    /// Take no new receivers from now on.
    Drain,
    /// Other times from now on.
    SetTimes {
        /// Nanoseconds.
        frame_grace_ns: u64,
        /// Nanoseconds.
        blocked_ns: u64,
    },
    /// Another limit of memory, from the next advance of the clock on.
    SetLimit {
        /// Buffers, and half of one.
        buffers: u8,
    },
    /// Return the pages of free buffers to the operating system.
    GiveBackPages,
}

impl Op {
    /// `Attach` with nothing buffered, for the default tenant and with the policy of the pool.
    pub fn attach(class: u8) -> Op {
        Op::Attach { class, bytes: 0, tenant: None, policy: None, notify_if_full: false, unknown_length: false }
    }

    /// `Request` for a buffer of the default size for the default tenant, without a deadline.
    pub fn request(class: u8) -> Op {
        Op::Request { class, size_index: 0, tenant: None, has_deadline: false }
    }

    /// `Report` for the receiver at this place of those in force.
    pub fn report(receiver: usize, event: Event) -> Op {
        Op::Report { receiver: HandleRef::Live(receiver as u8), event }
    }
}
