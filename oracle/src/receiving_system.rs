//! What receives are played on: the memory model of `docs/memory-model.md`, for one thread.
//!
//! The words are those of that page. Receivers have numbers that the caller chooses; time is passed in.

/// What a pool's memory is made of, and its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivingConfig {
    /// All memory for received bytes.
    pub memory_bytes: u64,
    /// The largest frame with its header: at least 128, and a multiple of 64.
    pub buffer_bytes: u32,
    /// The most receivers at once.
    pub receivers_max: u32,
    /// A frame's allowance, beside the time that its length takes.
    pub frame_grace_ns: u64,
    /// How long the host may hold content in shortage.
    pub blocked_ns: u64,
    /// The most receives in flight, trials aside; 0 for an eighth of the buffers, at least 1.
    pub in_flight_max: u32,
    /// Tenants beside the default one, numbers 1 and 2.
    pub tenants: Option<[TenantShare; 2]>,
}

/// What a tenant may have, in whole buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantShare {
    /// What it holds is divided by this: at least 1.
    pub weight: u32,
    /// What it holds is not evicted before its deadline if it is at most this.
    pub guaranteed: u32,
    /// When it holds this, its receivers are in shortage.
    pub cap: Option<u32>,
}

impl TenantShare {
    /// That of the default tenant.
    pub const DEFAULT: TenantShare = TenantShare { weight: 1, guaranteed: 0, cap: None };
}

impl ReceivingConfig {
    /// With the default times, and the default buffers of 16,448 bytes.
    pub fn new(memory_bytes: u64, receivers_max: u32) -> ReceivingConfig {
        let (frame_grace_ns, blocked_ns, in_flight_max) = (1_000_000_000, 2_000_000_000, 0);
        ReceivingConfig {
            memory_bytes,
            buffer_bytes: 16_448,
            receivers_max,
            frame_grace_ns,
            blocked_ns,
            in_flight_max,
            tenants: None,
        }
    }

    /// That of the tenant of this number.
    pub fn share(&self, tenant: usize) -> TenantShare {
        self.tenants.filter(|_| tenant > 0).map_or(TenantShare::DEFAULT, |tenants| tenants[tenant - 1])
    }

    /// No claim waits longer, in pool time.
    pub fn wait_ns_max(&self) -> u64 {
        self.allowance_ns(self.buffer_bytes) + self.frame_grace_ns / 8
    }

    /// How long a frame of this length may take from its start to its last byte.
    pub fn allowance_ns(&self, length: u32) -> u64 {
        self.frame_grace_ns + u64::from(length) * 1_000_000_000 / RATE_MIN
    }
}

/// Bytes a second that a peer must send at least, beside the grace.
pub const RATE_MIN: u64 = 8_192;

/// The answer to a readable receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It borrows, and may receive this much.
    Receive {
        /// The most bytes.
        max: u32,
    },
    /// It borrows, and may look at this much, which stays in the kernel.
    Look {
        /// The most bytes.
        max: u32,
    },
    /// It borrows, and receives all of this or nothing.
    Whole {
        /// The bytes.
        bytes: u32,
    },
    /// It borrows, looks at all of this or nothing, and decodes that.
    WholeLook {
        /// The bytes.
        bytes: u32,
    },
    /// There is nothing to borrow: try again in the next iteration.
    Later,
    /// It is kept for good, and receives nothing until it is resumed.
    Off,
    /// It waits.
    Claimed,
}

/// What the decoder leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Everything was consumed.
    Nothing,
    /// Bytes of the peer are missing.
    Short {
        /// The least that helps.
        needed: u32,
        /// The most that could be used at once.
        usable: u32,
    },
    /// What is left waits for the host.
    Held,
}

/// What became of bytes that were delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// How many, from the front, are the receiver's.
    pub accepted: u32,
    /// They stay where they are until they are reported on.
    pub in_place: bool,
}

/// What follows a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The borrow is over.
    Ended,
    /// The borrow goes on with another receive.
    Receive {
        /// The most bytes.
        max: u32,
    },
    /// The borrow goes on with a receive of all of this or nothing.
    Whole {
        /// The bytes.
        bytes: u32,
    },
    /// The same from a look.
    WholeLook {
        /// The bytes.
        bytes: u32,
    },
    /// The borrow goes on: this was decoded when it was looked at, and is to be received away.
    Away {
        /// The bytes.
        bytes: u32,
    },
    /// The borrow is over, and so is the receiver, which waits to be closed.
    Shed {
        /// Why.
        reason: Reason,
    },
}

/// Why a receiver was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// There was no room for what its borrow left.
    Memory,
    /// Its trial brought no frame, and there was no room for its length.
    Deadline,
    /// Its deadline had passed, or its tenant held more than its share, and others needed the room.
    Evicted,
}

/// What only polling brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A receiver lost its place.
    Shed {
        /// The receiver.
        receiver: u32,
        /// Why.
        reason: Reason,
    },
    /// The last receives of a claim: it borrows.
    Trial {
        /// The receiver.
        receiver: u32,
        /// The most bytes.
        max: u32,
    },
    /// A claim is served: it borrows.
    Granted {
        /// The receiver.
        receiver: u32,
        /// The most bytes.
        max: u32,
    },
    /// A receiver that was off may receive again.
    Resume {
        /// The receiver.
        receiver: u32,
    },
    /// Its receive in flight is to be cancelled.
    TakeBack {
        /// The receiver.
        receiver: u32,
    },
}

/// Everything that can be seen of a receiver, but for its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Undecoded bytes, borrowed or kept.
    pub kept: u32,
    /// The least that must arrive.
    pub needed: u32,
    /// The most that could be used at once.
    pub usable: u32,
    /// Size of its cell; 0 if it has none.
    pub cell_bytes: u32,
    /// Since when its frame arrives, or its claim waits for that.
    pub start: Option<u64>,
    /// Since when it claims.
    pub claim_since: Option<u64>,
    /// Its credit now, less the charge that is not settled yet.
    pub credit: i64,
    /// It borrows.
    pub borrowed: bool,
    /// Since when its content waits for the host.
    pub held_since: Option<u64>,
    /// It was answered that it receives nothing until it is resumed.
    pub off: bool,
    /// It makes no second claim for its frame.
    pub kept_for_good: bool,
    /// Its receive is in flight.
    pub in_flight: bool,
    /// It waits until this many bytes are in the kernel; 0 if it does not.
    pub mark: u32,
    /// The kernel holds no more of its frame.
    pub full: bool,
    /// Undecoded bytes, the last ones, that are in the kernel.
    pub seen: u32,
    /// Bytes that are to be received away.
    pub owed: u32,
    /// It was closed, and its receive is in flight; nothing else is set then.
    pub closed: bool,
    /// It waits to be closed; nothing else is set then.
    pub shed: bool,
}

/// Everything that can be seen of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Free buffers.
    pub free: u32,
    /// Sizes of cells, ascending, and how many of each are used.
    pub cells: Vec<(u32, u32)>,
    /// What each tenant holds, in bytes.
    pub held: [u64; 3],
    /// Claims that began.
    pub claims: u64,
    /// Receivers that were evicted.
    pub evictions: u64,
    /// Trials that were given.
    pub trials: u64,
    /// Claims that were granted.
    pub grants: u64,
    /// Frames of which the kernel held no more.
    pub full_kernels: u64,
    /// Receivers that were shed, by reason: memory, deadline, evicted.
    pub shed: [u64; 3],
    /// The longest claim that ended.
    pub longest_claim_ns: u64,
}

/// What receives are played on. The caller keeps the order of calls; `legal` of the model has it.
pub trait ReceivingSystem {
    /// A receiver begins to use the memory.
    fn attach(&mut self, receiver: u32, unknown_length: bool);
    /// Whether a layer takes whole records for it, from now on; `false` when it begins.
    fn set_reads_ahead(&mut self, receiver: u32, reads_ahead: bool);
    /// Whether its host can leave a partial frame in the kernel, from now on; `false` when it begins. It does not look,
    /// nor receive a whole.
    fn set_counts(&mut self, receiver: u32, counts: bool);
    /// It belongs to this tenant from now on; before the first such call to the default one, 0.
    fn set_tenant(&mut self, receiver: u32, tenant: u32);
    /// It ceases to; its number is free again.
    fn close(&mut self, receiver: u32);
    /// It is readable, has no held content, and does not borrow.
    fn begin(&mut self, receiver: u32) -> Begin;
    /// As `begin`, of a receiver that may be readable, and of which no report would come.
    fn begin_unreported(&mut self, receiver: u32) -> Begin;
    /// A receive brought at least one byte, and at most what was answered last.
    fn received(&mut self, receiver: u32, bytes: &[u8]);
    /// A receive brought these bytes, at least one, which are in the host's memory; no other receiver has bytes in
    /// place.
    fn deliver(&mut self, receiver: u32, bytes: &[u8]) -> Delivered;
    /// A receive brought nothing.
    fn dry(&mut self, receiver: u32) -> After;
    /// The decoder looked, and needs this many bytes in all; if they fit into no buffer, the borrow is over.
    fn looked(&mut self, receiver: u32, needed: u32) -> After;
    /// The host received bytes away that are owed: at least one.
    fn received_away(&mut self, receiver: u32, bytes: u32) -> After;
    /// The kernel will hold no more of the frame that the receiver looks at, receives whole or waits for under a mark.
    /// Then it begins.
    fn kernel_full(&mut self, receiver: u32) -> After;
    /// The peer will send no more, and what is there may be less than a frame. Then the receiver begins.
    fn peer_closed(&mut self, receiver: u32) -> After;
    /// Its receives are submitted from now on, or are not; none is allowed now.
    fn set_submits(&mut self, receiver: u32, submits: bool);
    /// The receive that was answered last is in flight; the outcome is `received`, `dry` or `end`.
    fn submit(&mut self, receiver: u32);
    /// Bytes from before the receive in flight are consumed: at least one.
    fn consume(&mut self, receiver: u32, bytes: u32);
    /// The outcome of a receive whose receiver was closed.
    fn complete(&mut self, receiver: u32);
    /// Held content is decoded again; false: there is nothing to borrow now.
    fn decode(&mut self, receiver: u32) -> bool;
    /// The decoder's report, after a receive or `decode`.
    fn decoded(&mut self, receiver: u32, consumed: u32, rest: Rest) -> After;
    /// The decoder of a receiver that keeps nothing could use this much at once.
    fn set_usable(&mut self, receiver: u32, usable: u32);
    /// The end of the stream, or a failure: what is kept is held.
    fn end(&mut self, receiver: u32);
    /// The clock, in host time.
    fn advance(&mut self, now_ns: u64);
    /// The next notice.
    fn poll(&mut self) -> Option<Notice>;
    /// When to advance the clock at the latest, in host time.
    fn poll_timeout(&self) -> Option<u64>;
    /// A free buffer for the host, or none.
    fn lease(&mut self) -> bool;
    /// One of the host's leases ends.
    fn release(&mut self);
    /// Undecoded bytes, borrowed or kept.
    fn data(&self, receiver: u32) -> Vec<u8>;
    /// What can be seen of a receiver.
    fn facts(&self, receiver: u32) -> Facts;
    /// What can be seen of the whole.
    fn totals(&self) -> Totals;
    /// Walks its tables, if it has some.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    fn check_invariants(&self) -> Result<(), String> {
        Ok(())
    }
}
