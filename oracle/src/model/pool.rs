//! A pool: connections ([`ModelConnection`]), the memory that they share ([`ModelReceiving`]), and the host's own
//! requests ([`ModelScheduler`](super::ModelScheduler)), put together as `docs/memory-model.md` has it for pools.

mod counting;
mod deadlines;
mod delivery;
mod host;
mod look;
mod shard;
mod state;
mod step;

pub use shard::ModelExported;

use super::{ModelConnection, ModelReceiving};
use crate::receiving_system::{Notice as MemoryNotice, ReceivingConfig, ReceivingSystem};
use crate::system::{Ask, Asked, Attach, Cell, Info, Notice, Stats, Step, System, Taken};
use crate::{Facts, check_facts, receiving_system};
use counting::check_counting;
use deadlines::Deadlines;
use demuxbuf::connection::{Action, Actions, Event, Policy};
use demuxbuf::pool::{MemoryModelStats, PoolConfig, PoolStats};
use demuxbuf::scheduler::{SchedulerConfig, TenantConfig, TenantInfo, WaitInfo};
use demuxbuf_capi::*;
use std::collections::BTreeMap;
use step::Standing;

/// What a connection asks for that is not its host's to do.
const OWN: [Action; 5] =
    [Action::Discard, Action::CancelRequest, Action::ReleaseBuffer, Action::RequestBuffer, Action::Park];

/// One receiver.
#[derive(Clone, Debug)]
struct Receiver {
    connection: ModelConnection,
    /// Its number in the memory.
    row: u32,
    token: u64,
    class: u8,
    /// Its host knows that there is no buffer to borrow in this loop iteration.
    is_scheduled: bool,
    /// Its host has bytes that it could not deliver yet.
    is_undelivered: bool,
    /// The mark that the host has set; 0 if it has to set it again.
    mark: u32,
}

/// Receivers, and the bytes that they hold.
#[derive(Clone, Debug)]
pub struct ModelPool {
    config: PoolConfig,
    memory: ModelReceiving,
    /// Those that share it.
    threads: u32,
    /// Of leases of the host's own that one of these has.
    deadlines: Option<Deadlines>,
    receivers: BTreeMap<u64, Receiver>,
    /// Numbers in the memory that are free again, and how many were ever used.
    free_rows: Vec<u32>,
    rows: u32,
    /// The host's own buffers, with what is known to be in them.
    buffers: BTreeMap<u64, Vec<Cell>>,
    /// Written by the host for the next `Received`.
    arriving: Vec<Cell>,
    next_receiver: u64,
    /// An attach was refused because the table was full, and asked for a notice.
    is_attach_awaited: bool,
    /// No new receivers are taken.
    is_draining: bool,
    /// The host is to learn that nothing is left.
    is_drain_awaited: bool,
    counts: PoolStats,
}

/// The settings of its scheduler.
fn requests_of(config: &PoolConfig) -> SchedulerConfig {
    let PoolConfig { classes, reserves, class_caps, class_burst, tenants_max, waiters_max, lease_ns, .. } = *config;
    let buffers = (config.memory_bytes / u64::from(config.buffer_bytes)) as u32;
    SchedulerConfig {
        classes,
        reserves,
        class_caps,
        class_burst,
        tenants_max,
        lease_ns,
        ..SchedulerConfig::new(buffers, waiters_max)
    }
}

/// Those of its memory.
fn memory_of(config: &PoolConfig) -> ReceivingConfig {
    let PoolConfig { memory_bytes, buffer_bytes, receivers_max, frame_grace_ns, blocked_ns, .. } = *config;
    let in_flight_max = config.in_flight_max;
    let memory = ReceivingConfig::new(memory_bytes, receivers_max);
    ReceivingConfig { buffer_bytes, frame_grace_ns, blocked_ns, in_flight_max, ..memory }
}

impl ModelPool {
    /// A pool with this configuration.
    pub fn new(config: &PoolConfig) -> ModelPool {
        ModelPool::with_memory(config, ModelReceiving::with_requests(memory_of(config), requests_of(config)))
    }

    fn with_memory(config: &PoolConfig, memory: ModelReceiving) -> ModelPool {
        ModelPool {
            config: *config,
            memory,
            threads: 1,
            deadlines: None,
            receivers: BTreeMap::new(),
            free_rows: Vec::new(),
            rows: 0,
            buffers: BTreeMap::new(),
            arriving: Vec::new(),
            next_receiver: 0,
            is_attach_awaited: false,
            is_draining: false,
            is_drain_awaited: false,
            counts: PoolStats::default(),
        }
    }

    /// Whether a receiver waits for memory.
    pub(crate) fn waits(&self, id: u64) -> bool {
        self.receivers.get(&id).is_some_and(|receiver| receiver.connection.facts().waiting)
    }

    /// Whether a receiver is gone, or has something to do, or its poller reports what there is, or its frame fits into
    /// no buffer.
    pub(crate) fn is_gone_or_served(&self, id: u64) -> bool {
        let is_served = |connection: &ModelConnection| {
            !self.host_actions(id).is_empty() || connection.facts().armed || self.is_misfit(id)
        };
        self.receivers.get(&id).is_none_or(|receiver| is_served(&receiver.connection))
    }

    /// Size of a buffer.
    pub fn buffer_bytes(&self) -> u32 {
        self.config.buffer_bytes
    }

    /// The most time that one advance of the clock adds.
    pub fn step_ns(&self) -> u64 {
        self.config.frame_grace_ns / 8
    }

    /// The longest that a receiver waits, in pool time.
    pub fn wait_ns_max(&self) -> u64 {
        self.config.wait_ns_max()
    }

    /// In as many such steps each claim is settled.
    pub(crate) fn steps_max(&self) -> u64 {
        self.wait_ns_max() / self.step_ns() + 2
    }

    /// What is known of a receiver in the memory.
    pub fn memory_facts(&self, id: u64) -> receiving_system::Facts {
        self.memory.facts(self.receivers[&id].row)
    }

    /// Counts of the memory.
    pub fn totals(&self) -> receiving_system::Totals {
        self.memory.totals()
    }

    fn find(&self, id: u64) -> Result<&Receiver, i32> {
        self.receivers.get(&id).ok_or(DEMUXBUF_ERR_STALE)
    }

    fn at(&mut self, id: u64) -> &mut Receiver {
        self.receivers.get_mut(&id).expect("an id that was found")
    }

    fn connection(&self, id: u64) -> &ModelConnection {
        &self.receivers[&id].connection
    }

    fn row(&self, id: u64) -> u32 {
        self.receivers[&id].row
    }

    fn id_of(&self, row: u32) -> u64 {
        let (&id, _) = self.receivers.iter().find(|(_, receiver)| receiver.row == row).expect("it is attached");
        id
    }

    pub(crate) fn is_full(&self) -> bool {
        self.receivers.len() == self.config.receivers_max as usize
    }

    fn check_class(&self, class: u8) -> Result<(), i32> {
        if class < self.config.classes { Ok(()) } else { Err(DEMUXBUF_ERR_CLASS) }
    }

    /// A receiver, of a connection that is not attached yet.
    fn insert(&mut self, with: Attach) -> Result<u64, i32> {
        let Attach { class, token, tenant, policy, notify_if_full, unknown_length } = with;
        if self.memory.shard().is_some_and(|shard| shard.desk.is_closed()) {
            return Err(DEMUXBUF_ERR_POOL_CLOSED);
        }
        if self.is_draining {
            return Err(DEMUXBUF_ERR_DRAINING);
        }
        self.check_class(class)?;
        let policy = policy.unwrap_or(self.config.policy);
        check_counting(&policy, unknown_length)?;
        if self.is_full() {
            self.is_attach_awaited |= notify_if_full;
            return Err(DEMUXBUF_ERR_TABLE_FULL);
        }
        check_tenant(tenant)?;
        let row = self.take_row();
        self.memory.attach(row, unknown_length);
        self.next_receiver += 1;
        let connection = ModelConnection::new(without_parking(policy));
        let (is_scheduled, is_undelivered, mark) = (false, false, 1);
        let receiver = Receiver { connection, row, token, class, is_scheduled, is_undelivered, mark };
        self.receivers.insert(self.next_receiver, receiver);
        self.follow_policy(self.next_receiver);
        Ok(self.next_receiver)
    }

    fn take_row(&mut self) -> u32 {
        self.free_rows.pop().unwrap_or_else(|| {
            self.rows += 1;
            self.rows - 1
        })
    }

    fn remove(&mut self, id: u64) {
        let row = self.row(id);
        self.receivers.remove(&id);
        self.free_rows.push(row);
    }

    /// There is no buffer for what it was to be attached with.
    fn refuse_attached(&mut self, id: u64) -> Result<u64, i32> {
        self.memory.close(self.row(id));
        self.remove(id);
        Err(DEMUXBUF_ERR_NO_BUFFER_FREE)
    }

    fn begin_attached(&mut self, id: u64, bytes: &[Cell]) {
        let buffered_bytes = bytes.len() as u32;
        self.counts.received_bytes += u64::from(buffered_bytes);
        let event = Event::Attach { buffered_bytes, capacity: buffered_bytes };
        self.at(id).connection.handle(event, bytes).expect("the content lies inside");
        self.settle(id);
    }
}

/// Here receivers are of the default tenant: tenants of receivers are compared without connections.
fn check_tenant(tenant: Option<u64>) -> Result<(), i32> {
    tenant.map_or(Ok(()), |_| Err(DEMUXBUF_ERR_STALE))
}

/// What is left undecoded is kept at once.
fn without_parking(policy: Policy) -> Policy {
    Policy { park_bytes: 0, reclaim_bytes: 0, ..policy }
}

fn known(bytes: &[u8]) -> Vec<Cell> {
    bytes.iter().copied().map(Some).collect()
}

impl System for ModelPool {
    fn attach(&mut self, with: Attach, bytes: &[u8]) -> Result<u64, i32> {
        if bytes.len() > self.config.buffer_bytes as usize {
            return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
        }
        let id = self.insert(with)?;
        if !bytes.is_empty() && !self.memory.receive_earlier(self.row(id), bytes.len() as u32) {
            return self.refuse_attached(id);
        }
        self.begin_attached(id, &known(bytes));
        Ok(id)
    }

    fn adopt(&mut self, with: Attach, content: Taken) -> Result<u64, i32> {
        let Taken { lease, offset, buffered_bytes } = content;
        let memory = self.buffers.get(&lease).ok_or(DEMUXBUF_ERR_STALE)?;
        if u64::from(offset) + u64::from(buffered_bytes) > self.config.buffer_bytes.into() {
            return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
        }
        let known = memory.iter().copied().chain(std::iter::repeat(None));
        let bytes: Vec<Cell> = known.skip(offset as usize).take(buffered_bytes as usize).collect();
        let id = self.insert(with)?;
        let before = self.memory.clone();
        self.memory.secure_borrow();
        if !self.memory.adopt(self.row(id), lease, offset, buffered_bytes) {
            self.memory = before;
            return self.refuse_attached(id);
        }
        self.buffers.remove(&lease);
        self.stop_deadline(lease);
        self.begin_attached(id, &bytes);
        Ok(id)
    }

    fn write(&mut self, receiver: u64, bytes: &[u8]) {
        let area = if self.receivers.contains_key(&receiver) { self.area(receiver) } else { 0 };
        self.arriving = bytes.iter().take(area as usize).copied().map(Some).collect();
    }

    fn report(&mut self, id: u64, event: Event) -> Result<Step, i32> {
        let arrived = std::mem::take(&mut self.arriving);
        self.find(id)?;
        self.follow_shed(id);
        let actions = self.handle(id, event, &arrived)?;
        Ok(self.show(id, actions))
    }

    fn decoded(&mut self, id: u64, consumed: u32, need_more: u32, usable: u32) -> Result<Step, i32> {
        if !self.find(id)?.connection.is_open() {
            return Err(DEMUXBUF_ERR_CLOSED);
        }
        self.follow_shed(id);
        let actions = self.decode(id, consumed, need_more, usable)?;
        Ok(self.show(id, actions))
    }

    fn deliver(&mut self, id: u64, bytes: &[u8]) -> Result<(u32, Step), i32> {
        self.check_deliverable(id, bytes.len())?;
        self.follow_shed(id);
        let (accepted, actions) = self.deliver_to(id, &known(bytes));
        Ok((accepted, self.show_delivered(id, actions)))
    }

    fn delivered(&mut self, id: u64, consumed: u32, need_more: u32) -> Result<Step, i32> {
        if !self.find(id)?.connection.is_open() {
            return Err(DEMUXBUF_ERR_CLOSED);
        }
        self.follow_shed(id);
        let actions = match self.is_in_place(id) {
            true => self.decode_delivered(id, consumed, need_more)?,
            false => self.decode(id, consumed, need_more, 0)?,
        };
        Ok(self.show_delivered(id, actions))
    }

    fn pending(&mut self, id: u64) -> Result<Step, i32> {
        self.find(id)?;
        let actions = self.host_actions(id);
        Ok(self.show(id, actions))
    }

    fn take(&mut self, id: u64) -> Result<Taken, i32> {
        self.find(id)?;
        self.take_content(id)
    }

    fn set_tenant(&mut self, id: u64, tenant: Option<u64>) -> Result<(), i32> {
        self.find(id)?;
        check_tenant(tenant)
    }

    fn set_class(&mut self, id: u64, class: u8) -> Result<(), i32> {
        self.find(id)?;
        self.check_class(class)?;
        self.at(id).class = class;
        Ok(())
    }

    fn set_policy(&mut self, id: u64, policy: Policy) -> Result<Step, i32> {
        let row = self.find(id)?.row;
        check_counting(&policy, self.memory.has_unknown_length(row))?;
        self.follow_shed(id);
        self.at(id).connection.set_policy(without_parking(policy)).map_err(|refusal| refusal.code())?;
        self.follow_policy(id);
        let actions = self.settle(id);
        Ok(self.show(id, actions))
    }

    fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        self.request_own(ask)
    }

    fn try_request(&mut self, ask: Ask) -> Result<Option<u64>, i32> {
        self.try_request_own(ask)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        self.buffers.remove(&lease).ok_or(DEMUXBUF_ERR_STALE)?;
        self.stop_deadline(lease);
        self.memory.release_own(lease)
    }

    fn drain(&mut self) {
        self.is_drain_awaited |= !self.is_draining;
        (self.is_draining, self.is_attach_awaited) = (true, false);
    }

    fn set_times(&mut self, frame_grace_ns: u64, blocked_ns: u64) -> Result<(), i32> {
        if [frame_grace_ns, blocked_ns].iter().any(|ns| !(8..=u64::MAX / 4).contains(ns)) {
            return Err(DEMUXBUF_ERR_CONFIG);
        }
        (self.config.frame_grace_ns, self.config.blocked_ns) = (frame_grace_ns, blocked_ns);
        self.memory.set_times(frame_grace_ns, blocked_ns);
        Ok(())
    }

    fn set_limit(&mut self, buffers: u64) -> Result<(), i32> {
        let (requests, buffers) = (requests_of(&self.config), buffers as u32);
        let limited = match self.is_of_thread() {
            true => self.limit_all(&requests, buffers),
            false => self.memory.set_limit(&requests, buffers),
        };
        limited.map_err(|()| DEMUXBUF_ERR_CONFIG)
    }

    fn progress(&mut self, lease: u64, _bytes: u64) -> Result<(), i32> {
        self.buffers.get(&lease).ok_or(DEMUXBUF_ERR_STALE)?;
        if self.is_of_thread() {
            return self.renew_own(lease);
        }
        self.memory.call_scheduler(|scheduler| scheduler.renew(lease))
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        self.memory.cancel_own(wait)
    }

    fn content(&mut self, lease: u64) -> Result<Vec<Cell>, i32> {
        let known = self.buffers.get(&lease).ok_or(DEMUXBUF_ERR_STALE)?.iter().copied();
        Ok(known.chain(std::iter::repeat(None)).take(self.config.buffer_bytes as usize).collect())
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        self.next_notice()
    }

    fn tick(&mut self, now_ns: u64) {
        while let Some(row) = self.memory.end_first_borrow() {
            let id = self.id_of(row);
            self.follow_end_of_borrow(id);
        }
        self.memory.advance(now_ns);
        match self.memory.shard() {
            Some(shard) => shard.desk.advance(now_ns),
            None => self.memory.call_scheduler(|scheduler| scheduler.tick(now_ns)),
        }
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.advance(now_ns);
        }
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        let receivers_wait = self.memory.has_waiting_receivers();
        let of_lease = match self.is_of_thread() {
            true => self.next_overdue_ns_here(),
            false => self.memory.look_at_scheduler(|scheduler| scheduler.next_overdue_ns(receivers_wait)),
        };
        let of_grants = self.memory.shard().and_then(|shard| shard.desk.next_look());
        [ReceivingSystem::poll_timeout(&self.memory), of_lease, of_grants].into_iter().flatten().min()
    }

    fn create_tenant(&mut self, tenant_config: TenantConfig) -> Result<u64, i32> {
        self.memory.call_scheduler(|scheduler| scheduler.create_tenant(tenant_config))
    }

    fn remove_tenant(&mut self, tenant: u64) -> Result<(), i32> {
        self.memory.call_scheduler(|scheduler| scheduler.remove_tenant(tenant))
    }

    fn describe_tenant(&mut self, tenant: u64) -> Result<TenantInfo, i32> {
        self.memory.call_scheduler(|scheduler| scheduler.describe_tenant(tenant))
    }

    fn describe(&mut self, id: u64) -> Result<Info, i32> {
        let Receiver { ref connection, row, token, class, .. } = *self.find(id)?;
        Ok(Info {
            facts: Facts { pending: self.host_actions(id).bits(), ..connection.facts() },
            token,
            class,
            age_ns: self.memory.claim_age_ns(row),
            shed_reason: self.memory.shed_reason(row),
            awaited_bytes: self.awaited_bytes(id),
        })
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<WaitInfo, i32>> {
        self.memory.describe_own_wait(wait)
    }

    fn bypass_bound(&mut self) -> u64 {
        let of_one = self.memory.call_scheduler(System::bypass_bound);
        self.memory.shard().map_or(of_one, |shard| shard.bypass_bound(of_one))
    }

    fn stats(&mut self) -> Stats {
        let mut below = self.memory.call_scheduler(System::stats);
        if let Some(shard) = self.memory.shard() {
            shard.desk.count_shards(&mut below.scheduler);
        }
        if let Some(withheld) = self.memory.next_withheld() {
            below.scheduler.to_withhold = withheld.saturating_sub(below.scheduler.withheld);
        }
        let totals = self.memory.totals();
        let [shed_for_memory, shed_at_deadline, evicted] = totals.shed;
        filled!(self.counts;
            scheduler: below.scheduler,
            clock_skipped_ns: self.memory.skipped_ns(),
            receivers: self.receivers.len() as u32,
            receivers_max: self.config.receivers_max,
            shed: shed_for_memory + shed_at_deadline + evicted,
            memory_bytes: u64::from(below.scheduler.capacity) * u64::from(self.config.buffer_bytes),
            memory_model: filled!(MemoryModelStats::default();
                claims: totals.claims,
                grants: totals.grants,
                trials: totals.trials,
                shed_at_deadline: shed_at_deadline,
                evicted: evicted,
                shed_for_memory: shed_for_memory,
                longest_claim_ns: totals.longest_claim_ns,
                wait_ns_max: self.config.wait_ns_max(),
                full_kernels: totals.full_kernels,
            ),
        )
        .into()
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        if !self.is_of_thread() {
            self.memory.call_scheduler(System::check_invariants)?;
        }
        let open = self.receivers.values().filter(|receiver| receiver.connection.is_open());
        let received = |of: &Receiver| of.connection.buffered_bytes() - self.memory.facts(of.row).seen;
        let buffered: u64 = open.map(|of| u64::from(received(of))).sum();
        let PoolStats { received_bytes, consumed_bytes, dropped_bytes, taken_bytes, .. } = self.counts;
        let left = consumed_bytes + dropped_bytes + taken_bytes;
        let leased = self.memory.call_scheduler(System::stats).scheduler.leased;
        let mut rules = vec![
            ("I1: receivers and the host have all that is leased", self.is_of_thread() || self.has_all(leased)),
            ("I5: every byte is somewhere or was counted", received_bytes == left + buffered),
        ];
        for (&id, receiver) in self.receivers.iter().filter(|(_, receiver)| receiver.connection.is_open()) {
            let facts = receiver.connection.facts();
            check_facts(&facts)?;
            let memory = self.memory.facts(receiver.row);
            let hold = match (memory.borrowed, memory.kept) {
                (true, _) => 2,
                (false, 0) => 0,
                (false, _) => 1,
            };
            let sees_misfit = facts.hold == 2 && self.is_misfit(id);
            let is_held = facts.hold == hold || sees_misfit;
            let is_known = memory.shed || (is_held && facts.buffered_bytes == memory.kept);
            rules.push(("I2, I5: the connection sees what it has in the memory", is_known));
        }
        match rules.iter().find(|(_, holds)| !holds) {
            Some((rule, _)) => Err(format!("{rule}: {self:?}")),
            None => Ok(()),
        }
    }
}

impl ModelPool {
    /// The next notice.
    fn next_notice(&mut self) -> Option<Notice> {
        loop {
            if let Some(granted) = self.next_lease() {
                return Some(granted);
            }
            let marked = self.memory.under_mark();
            let Some(notice) = self.memory.poll() else {
                if self.memory.is_called() {
                    // What was evicted, or another thread released, was assigned to a wait of this thread.
                    continue;
                }
                // Of a thread, what was assigned meanwhile was seen just now.
                let granted = if self.is_of_thread() { None } else { self.next_lease() };
                return granted.or_else(|| self.next_overdue()).or_else(|| self.next_awaited());
            };
            let (MemoryNotice::Shed { receiver: row, .. }
            | MemoryNotice::Trial { receiver: row, .. }
            | MemoryNotice::Granted { receiver: row, .. }
            | MemoryNotice::TakeBack { receiver: row }
            | MemoryNotice::Resume { receiver: row }) = notice;
            let id = self.id_of(row);
            match notice {
                MemoryNotice::Shed { .. } => self.lose_content(id),
                MemoryNotice::Trial { max, .. } | MemoryNotice::Granted { max, .. } => {
                    if marked.contains(&row) {
                        self.show_trial(id);
                    }
                    self.grant(id, max);
                }
                MemoryNotice::TakeBack { .. } => self.feed(id, Event::ReclaimRequested),
                MemoryNotice::Resume { .. } => match self.memory.begin(row) {
                    receiving_system::Begin::Receive { max } => self.grant(id, max),
                    _ => continue,
                },
            }
            let actions = self.settle(id);
            if !actions.is_empty() {
                let token = self.at(id).token;
                return Some(Notice::Receiver { id, token, step: self.show(id, actions) });
            }
        }
    }

    /// An attach can be repeated, or nothing is left.
    fn next_awaited(&mut self) -> Option<Notice> {
        if self.is_drain_awaited {
            let has_leases = !self.is_of_thread() && !self.buffers.is_empty();
            let is_drained = self.receivers.is_empty() && !has_leases && !self.memory.has_requests();
            self.is_drain_awaited &= !is_drained;
            return is_drained.then_some(Notice::Drained);
        }
        let is_possible = self.is_attach_awaited && !self.is_full();
        self.is_attach_awaited &= !is_possible;
        is_possible.then_some(Notice::Attachable)
    }

    /// What the host is shown: how much it may receive, or what is undecoded.
    fn show(&self, id: u64, actions: Actions) -> Step {
        let area = if actions.has(Action::Recv) || actions.has(Action::Peek) { self.area(id) } else { 0 };
        let (is_there, mark) = (self.receivers.contains_key(&id), self.shown_mark(id, actions));
        let data = if area == 0 && mark == 0 && is_there { self.data(id) } else { Vec::new() };
        Step { actions: actions.bits(), area, mark, data }
    }
}
