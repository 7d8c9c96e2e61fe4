//! The Rust API.

use super::{Asked, Cell, Counts, Granted, Info, Step, Subject, Taken};
use crate::Facts;
use crate::model::{OUT_BY_CLASS, WAITING_BY_CLASS};
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::ffi::*;
use demuxbuf::pool::{self, LeaseId, Outcome, Pool, PoolConfig, PoolError, PoolStats, WaitId, WaitInfo};
use demuxbuf::receiver::{self, Handover, ReceiverError, ReceiverId, Receivers, ReceiversConfig};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A pool alone.
#[derive(Debug)]
pub struct RustPool(Pool);

/// Receivers.
#[derive(Debug)]
pub struct RustReceivers(Receivers);

impl RustPool {
    /// A pool with this configuration, which is allowed.
    pub fn new(config: &PoolConfig) -> RustPool {
        RustPool(Pool::new(config).expect("an allowed configuration"))
    }
}

impl RustReceivers {
    /// Receivers with this configuration, which is allowed.
    pub fn new(config: &ReceiversConfig) -> RustReceivers {
        RustReceivers(Receivers::new(config).expect("an allowed configuration"))
    }

    /// A number for the whole state of a receiver's connection, also for what no query shows.
    pub fn fingerprint(&self, receiver: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.connection(ReceiverId::from_bits(receiver)).ok().hash(&mut hasher);
        hasher.finish()
    }

    fn show(&mut self, id: ReceiverId, actions: Actions) -> Step {
        if actions.has(Action::Recv) {
            let area = self.0.receive_area(id).map_or(0, |area| area.len() as u32);
            return Step { actions: actions.bits(), area, data: Vec::new() };
        }
        let data = self.0.data(id).unwrap_or_default().iter().copied().map(Some).collect();
        Step { actions: actions.bits(), area: 0, data }
    }
}

fn pool_code(error: PoolError) -> i32 {
    match error {
        PoolError::UnknownClass { .. } => DEMUXBUF_ERR_CLASS,
        PoolError::WaitersFull { .. } => DEMUXBUF_ERR_TABLE_FULL,
        PoolError::StaleLease | PoolError::StaleWait => DEMUXBUF_ERR_STALE,
        other => unreachable!("no operation leads to {other:?}"),
    }
}

fn code(error: ReceiverError) -> i32 {
    match error {
        ReceiverError::Stale => DEMUXBUF_ERR_STALE,
        ReceiverError::UnknownClass => DEMUXBUF_ERR_CLASS,
        ReceiverError::TableFull => DEMUXBUF_ERR_TABLE_FULL,
        ReceiverError::NoBufferFree => DEMUXBUF_ERR_NO_BUFFER_FREE,
        ReceiverError::NoBuffer => DEMUXBUF_ERR_NO_BUFFER,
        ReceiverError::TooManyBytes => DEMUXBUF_ERR_TOO_MANY_BYTES,
        ReceiverError::InternalEvent => DEMUXBUF_ERR_INTERNAL_EVENT,
        ReceiverError::Event(error) => error.code(),
        other => unreachable!("no operation leads to {other:?}"),
    }
}

fn asked(outcome: Outcome) -> Asked {
    match outcome {
        Outcome::Granted(lease) => Asked::Lease(lease.to_bits()),
        Outcome::Queued(wait) => Asked::Wait(wait.to_bits()),
    }
}

fn wait_facts(info: WaitInfo) -> (u64, u64, bool) {
    (info.age_ns, info.grants_passed, info.is_assigned)
}

fn pool_counts(stats: &PoolStats, classes: usize) -> Counts {
    let mut counts = Counts::from([
        ("buffers", stats.capacity.into()),
        ("free", stats.free.into()),
        ("leased", stats.leased.into()),
        ("assigned", stats.assigned.into()),
        ("waiting", stats.waiting.into()),
        ("leased_peak", stats.leased_peak.into()),
        ("waiting_peak", stats.waiting_peak.into()),
        ("granted_at_once", stats.granted_at_once),
        ("granted_by_hand_over", stats.granted_by_hand_over),
        ("queued", stats.queued),
        ("cancelled", stats.cancelled),
        ("released", stats.released),
        ("refused", stats.refused),
        ("clock_backwards", stats.clock_backwards),
    ]);
    for class in 0..classes {
        counts.insert(WAITING_BY_CLASS[class], stats.waiting_by_class[class].into());
        counts.insert(OUT_BY_CLASS[class], stats.out_by_class[class].into());
    }
    counts
}

/// As many classes as there are, asked from outside.
fn classes(mut exists: impl FnMut(u8) -> bool) -> usize {
    (0..pool::CLASSES_MAX as u8).take_while(|&class| exists(class)).count()
}

impl Subject for RustPool {
    fn request(&mut self, class: u8, token: u64) -> Result<Asked, i32> {
        self.0.request(class, token).map(asked).map_err(pool_code)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        self.0.release(LeaseId::from_bits(lease)).map_err(pool_code)
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        self.0.cancel(WaitId::from_bits(wait)).map_err(pool_code)
    }

    fn poll_grant(&mut self) -> Option<Granted> {
        let pool::Grant { wait, token, lease, .. } = self.0.poll_grant()?;
        Some(Granted::Lease { wait: wait.to_bits(), token, lease: lease.to_bits() })
    }

    fn tick(&mut self, now_ns: u64) {
        self.0.handle_timeout(now_ns);
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<(u64, u64, bool), i32>> {
        Some(self.0.describe_wait(WaitId::from_bits(wait)).map(wait_facts).map_err(pool_code))
    }

    fn passed_max(&mut self, class: u8) -> Result<u64, i32> {
        Ok(self.0.passed_max(class))
    }

    fn counts(&mut self) -> Counts {
        // A pool alone does not say how many classes it has; those it has not stay at 0.
        pool_counts(&self.0.stats(), pool::CLASSES_MAX)
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        self.0.check_invariants().map_err(str::to_owned)
    }
}

impl Subject for RustReceivers {
    fn attach(&mut self, class: u8, token: u64, bytes: &[u8]) -> Result<u64, i32> {
        self.0.attach_with(class, token, bytes).map(ReceiverId::to_bits).map_err(code)
    }

    fn adopt(&mut self, class: u8, token: u64, content: Taken) -> Result<u64, i32> {
        let Taken { lease, offset, level } = content;
        let content = Handover { lease: LeaseId::from_bits(lease), offset, level };
        self.0.adopt(class, token, content).map(ReceiverId::to_bits).map_err(code)
    }

    fn write(&mut self, receiver: u64, bytes: &[u8]) {
        if let Ok(area) = self.0.receive_area(ReceiverId::from_bits(receiver)) {
            area.iter_mut().zip(bytes).for_each(|(place, &byte)| *place = byte);
        }
    }

    fn report(&mut self, receiver: u64, event: Event) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = self.0.handle(id, event).map_err(code)?;
        Ok(self.show(id, actions))
    }

    fn decoded(&mut self, receiver: u64, consumed: u32, need_more: u32) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = self.0.decoded(id, consumed, need_more).map_err(code)?;
        Ok(self.show(id, actions))
    }

    fn pending(&mut self, receiver: u64) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = self.0.pending(id).map_err(code)?;
        Ok(self.show(id, actions))
    }

    fn take(&mut self, receiver: u64) -> Result<Taken, i32> {
        let Handover { lease, offset, level } = self.0.take(ReceiverId::from_bits(receiver)).map_err(code)?;
        Ok(Taken { lease: lease.to_bits(), offset, level })
    }

    fn content(&mut self, lease: u64) -> Result<Vec<Cell>, i32> {
        let memory = self.0.buffer(LeaseId::from_bits(lease)).map_err(code)?;
        Ok(memory.iter().copied().map(Some).collect())
    }

    fn describe(&mut self, receiver: u64) -> Result<Info, i32> {
        let info = self.0.describe(ReceiverId::from_bits(receiver)).map_err(code)?;
        Ok(Info {
            facts: Facts::from(&info.connection),
            token: info.token,
            class: info.class,
            age_ns: info.wait_age_ns,
            passed: info.grants_passed,
        })
    }

    fn give_back_pages(&mut self) {
        self.0.give_back_pages();
    }

    fn request(&mut self, class: u8, token: u64) -> Result<Asked, i32> {
        self.0.request(class, token).map(asked).map_err(code)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        self.0.release(LeaseId::from_bits(lease)).map_err(code)
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        self.0.cancel(WaitId::from_bits(wait)).map_err(code)
    }

    fn poll_grant(&mut self) -> Option<Granted> {
        Some(match self.0.poll_grant()? {
            receiver::Granted::Receiver { id, token, actions } => {
                Granted::Receiver { id: id.to_bits(), token, step: self.show(id, actions) }
            }
            receiver::Granted::Lease { wait, token, lease } => {
                Granted::Lease { wait: wait.to_bits(), token, lease: lease.to_bits() }
            }
        })
    }

    fn tick(&mut self, now_ns: u64) {
        self.0.handle_timeout(now_ns);
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<(u64, u64, bool), i32>> {
        Some(self.0.describe_wait(WaitId::from_bits(wait)).map(wait_facts).map_err(code))
    }

    fn passed_max(&mut self, class: u8) -> Result<u64, i32> {
        self.0.passed_max(class).map_err(code)
    }

    fn counts(&mut self) -> Counts {
        let stats = self.0.stats();
        let mut counts = pool_counts(&stats.pool, classes(|class| self.0.passed_max(class).is_ok()));
        counts.extend([
            ("receivers", stats.receivers.into()),
            ("receivers_max", stats.receivers_max.into()),
            ("slots", stats.slots.into()),
            ("slots_in_use", stats.slots_in_use.into()),
            ("slots_in_use_peak", stats.slots_in_use_peak.into()),
            ("parked", stats.parked),
            ("unparked", stats.unparked),
            ("lifelines", stats.lifelines),
            ("park_refused", stats.park_refused),
            ("compactions", stats.compactions),
            ("compacted_bytes", stats.compacted_bytes),
            ("received_bytes", stats.received_bytes),
            ("consumed_bytes", stats.consumed_bytes),
            ("dropped_bytes", stats.dropped_bytes),
            ("handed_over_bytes", stats.handed_over_bytes),
            ("memory_bytes", stats.memory_bytes),
        ]);
        counts
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        self.0.check_invariants().map_err(str::to_owned)
    }
}
