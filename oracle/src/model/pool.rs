//! A pool, its memory and the connections that receive into it, as the docs of `demuxbuf::pool` have them.

mod state;
mod step;

use super::{ModelConnection, ModelScheduler};
use crate::check_facts;
use crate::system::{Ask, Asked, Attach, Cell, Info, Notice, Step, System, Taken};
use demuxbuf::connection::{Action, Event, Hold, Policy};
use demuxbuf::memory::{SLOT_BYTES, SLOT_SIZES};
use demuxbuf::pool::{PoolConfig, PoolStats};
use demuxbuf::scheduler::{TenantConfig, TenantInfo, WaitInfo};
use demuxbuf_capi::*;
use std::collections::BTreeMap;

const OWN: [Action; 5] =
    [Action::Discard, Action::CancelRequest, Action::ReleaseBuffer, Action::RequestBuffer, Action::Park];

/// One receiver.
#[derive(Clone, Debug)]
struct Receiver {
    connection: ModelConnection,
    /// Where the content starts in what is held.
    start: u32,
    lease: Option<u64>,
    /// Size of the slot that is held, as an index of `SLOT_SIZES`.
    slot: Option<usize>,
    /// For a first buffer, or beside a lease for a larger one.
    wait: Option<u64>,
    /// The grant that is deferred until the receive in flight has ended.
    granted: Option<u64>,
    /// What the system writes for the receive in flight.
    in_flight: Vec<Cell>,
    token: u64,
    class: u8,
    tenant: u64,
}

/// Receivers with the bytes that they hold.
#[derive(Clone, Debug)]
pub struct ModelPool {
    config: PoolConfig,
    scheduler: ModelScheduler,
    receivers: BTreeMap<u64, Receiver>,
    /// The host's own buffers, with what is known to be in them.
    memory: BTreeMap<u64, Vec<Cell>>,
    /// Written by the host for the next `Received`.
    arriving: Vec<Cell>,
    next_receiver: u64,
    /// An attach was refused because the table was full, and asked for a notice.
    is_attach_awaited: bool,
    counts: PoolStats,
}

impl ModelPool {
    /// Receivers with this configuration.
    pub fn new(config: &PoolConfig) -> ModelPool {
        ModelPool {
            config: *config,
            scheduler: ModelScheduler::new(&config.scheduler),
            receivers: BTreeMap::new(),
            memory: BTreeMap::new(),
            arriving: Vec::new(),
            next_receiver: 0,
            is_attach_awaited: false,
            counts: PoolStats::default(),
        }
    }

    /// What is buffered by all receivers, in bytes.
    pub fn buffered_bytes(&self) -> u64 {
        let open =
            self.receivers.values().map(|receiver| &receiver.connection).filter(|connection| connection.is_open());
        open.map(|connection| u64::from(connection.buffered_bytes())).sum()
    }

    /// Age of the oldest lease with a deadline.
    pub fn oldest_ns(&self) -> u64 {
        self.scheduler.oldest_ns()
    }

    /// Whether the host knows that it is to cancel a receiver's receive, by place in the order of attachment.
    pub fn is_taken_back(&self, at: usize) -> bool {
        self.receivers.values().nth(at).is_some_and(|receiver| receiver.connection.is_taken_back())
    }

    /// Whether the pool owes a receiver its first buffer.
    pub(crate) fn waits_for_first(&self, id: u64) -> bool {
        self.receivers.get(&id).is_some_and(|receiver| receiver.wait.is_some() && receiver.lease.is_none())
    }

    /// Whether a receiver is gone or has a buffer, be it one that it cannot use yet.
    pub(crate) fn is_gone_or_served(&self, id: u64) -> bool {
        self.receivers.get(&id).is_none_or(|receiver| receiver.lease.or(receiver.granted).is_some())
    }

    fn find(&self, id: u64) -> Result<&Receiver, i32> {
        self.receivers.get(&id).ok_or(DEMUXBUF_ERR_STALE)
    }

    fn at(&mut self, id: u64) -> &mut Receiver {
        self.receivers.get_mut(&id).expect("an id that was found")
    }

    fn slots(&self) -> [u32; SLOT_SIZES.len()] {
        let [a, b, c] = self.config.large_slots;
        [self.config.slots, a, b, c]
    }

    fn slots_in_use(&self, size_index: usize) -> u32 {
        self.receivers.values().filter(|receiver| receiver.slot == Some(size_index)).count() as u32
    }

    /// The smallest slot that is free and has room for this many bytes.
    fn free_slot(&self, bytes: usize) -> Option<usize> {
        (0..SLOT_SIZES.len()).find(|&size_index| {
            SLOT_SIZES[size_index] >= bytes && self.slots_in_use(size_index) < self.slots()[size_index]
        })
    }

    /// A slot of the smallest size, to receive into.
    fn smallest_slot(&self) -> Option<usize> {
        self.free_slot(0).filter(|&size_index| size_index == 0)
    }

    /// Bytes of a buffer of this size; 0 if there is no such size.
    fn bytes_of(&self, size_index: u8) -> u32 {
        self.scheduler.units_of(size_index) * self.unit_bytes()
    }

    fn unit_bytes(&self) -> u32 {
        self.config.buffer_bytes / self.config.scheduler.sizes[0]
    }

    fn capacity_of(&self, lease: u64) -> u32 {
        self.scheduler.units_held(lease).expect("a lease in force") * self.unit_bytes()
    }

    /// Checks what a connection is attached with; returns its tenant, which a receiver requests for from now on.
    fn admit(&mut self, with: Attach) -> Result<u64, i32> {
        with.policy.map_or(Ok(()), check_policy)?;
        self.check_class(with.class)?;
        if self.is_full() {
            self.is_attach_awaited |= with.notify_if_full;
            return Err(DEMUXBUF_ERR_TABLE_FULL);
        }
        self.scheduler.pin(with.tenant, self.config.first_size_index)
    }

    fn is_full(&self) -> bool {
        self.receivers.len() == self.config.receivers_max as usize
    }

    fn check_class(&self, class: u8) -> Result<(), i32> {
        if usize::from(class) < self.scheduler.classes() { Ok(()) } else { Err(DEMUXBUF_ERR_CLASS) }
    }

    /// How often the budget can be resident: once for all sizes of whole pages, and once for each other.
    fn budgets(&self) -> u64 {
        // No size that is tried here is a multiple of this and not of the machine's.
        const PAGE_BYTES: u32 = 4096;
        let all = self.config.scheduler.buffers * self.config.scheduler.sizes[0];
        let fitting = self.config.scheduler.sizes.iter().filter(|&&units| units > 0 && units <= all);
        let sizes = fitting.map(|units| units * self.unit_bytes());
        let (whole, cut): (Vec<u32>, Vec<u32>) = sizes.partition(|bytes| bytes % PAGE_BYTES == 0);
        cut.len() as u64 + u64::from(!whole.is_empty())
    }

    fn attach_in_slot(&mut self, with: Attach, tenant: u64, bytes: &[Cell]) -> u64 {
        let id = self.insert(with, tenant);
        let (buffered_bytes, capacity) = (bytes.len() as u32, SLOT_BYTES as u32);
        self.counts.received_bytes += u64::from(buffered_bytes);
        self.at(id)
            .connection
            .handle(Event::Attach { buffered_bytes, capacity }, bytes)
            .expect("the content lies inside");
        self.enter_slot(id, 0);
        id
    }

    fn insert(&mut self, with: Attach, tenant: u64) -> u64 {
        let Attach { class, token, policy, .. } = with;
        self.next_receiver += 1;
        let connection = ModelConnection::new(policy.unwrap_or(self.config.policy));
        self.receivers.insert(
            self.next_receiver,
            Receiver {
                connection,
                start: 0,
                lease: None,
                slot: None,
                wait: None,
                granted: None,
                in_flight: Vec::new(),
                token,
                class,
                tenant,
            },
        );
        self.next_receiver
    }
}

/// A policy that a receiver may have: what is parked has to fit into a slot.
fn check_policy(policy: Policy) -> Result<(), i32> {
    let fits = policy.park_bytes <= SLOT_BYTES as u16 && policy.reclaim_bytes <= SLOT_SIZES[3] as u16;
    if fits { Ok(()) } else { Err(DEMUXBUF_ERR_RANGE) }
}

fn known(bytes: &[u8]) -> Vec<Cell> {
    bytes.iter().copied().map(Some).collect()
}

impl System for ModelPool {
    fn attach(&mut self, with: Attach, bytes: &[u8]) -> Result<u64, i32> {
        if bytes.is_empty() {
            let tenant = self.admit(with)?;
            let id = self.insert(with, tenant);
            self.apply_event(id, Event::Attach { buffered_bytes: 0, capacity: 0 });
            self.run_own_actions(id);
            return Ok(id);
        }
        if bytes.len() > self.config.buffer_bytes as usize {
            return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
        }
        let tenant = self.admit(with)?;
        if bytes.len() <= SLOT_BYTES && self.smallest_slot().is_some() {
            return Ok(self.attach_in_slot(with, tenant, &known(bytes)));
        }
        let ask = Ask { tenant: with.tenant, ..Ask::new(with.class, with.token) };
        let granted = self.scheduler.try_request_timed(ask, false);
        // The receiver that is made next keeps the tenant.
        self.scheduler.unpin(tenant);
        let lease = granted?.ok_or(DEMUXBUF_ERR_NO_BUFFER_FREE)?;
        self.memory.insert(lease, known(bytes));
        self.adopt(with, Taken { lease, offset: 0, buffered_bytes: bytes.len() as u32 })
    }

    fn adopt(&mut self, with: Attach, content: Taken) -> Result<u64, i32> {
        let Taken { lease, offset, buffered_bytes } = content;
        let memory = self.memory.get(&lease).ok_or(DEMUXBUF_ERR_STALE)?;
        let capacity = self.capacity_of(lease);
        if u64::from(offset) + u64::from(buffered_bytes) > capacity.into() {
            return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
        }
        let bytes: Vec<Cell> = memory
            .iter()
            .copied()
            .chain(std::iter::repeat(None))
            .skip(offset as usize)
            .take(buffered_bytes as usize)
            .collect();
        let tenant = self.admit(with)?;
        let id = self.insert(with, tenant);
        self.memory.remove(&lease);
        self.counts.received_bytes += u64::from(buffered_bytes);
        self.scheduler.start_timing(lease);
        let receiver = self.at(id);
        (receiver.lease, receiver.start) = (Some(lease), offset);
        receiver
            .connection
            .handle(Event::Attach { buffered_bytes, capacity }, &bytes)
            .expect("the content lies inside");
        self.run_own_actions(id);
        Ok(id)
    }

    fn write(&mut self, receiver: u64, bytes: &[u8]) {
        let area = self.receivers.get(&receiver).map_or(0, |receiver| receiver.connection.recv_max());
        self.arriving = bytes.iter().take(area as usize).copied().map(Some).collect();
    }

    fn report(&mut self, id: u64, event: Event) -> Result<Step, i32> {
        let arrived = std::mem::take(&mut self.arriving);
        let receiver = self.find(id)?;
        let end = u64::from(receiver.start) + u64::from(receiver.connection.buffered_bytes());
        match event {
            Event::Attach { .. } | Event::BufferGranted { .. } | Event::BufferDenied | Event::BufferParked { .. } => {
                return Err(DEMUXBUF_ERR_INTERNAL_EVENT);
            }
            Event::BufferReleased | Event::Sync { .. } => return Err(DEMUXBUF_ERR_INTERNAL_EVENT),
            Event::Close => return self.close(id),
            Event::Consumed { .. } if !receiver.connection.is_open() => return Err(DEMUXBUF_ERR_CLOSED),
            _ => {}
        }
        if let Event::Received { bytes } = event {
            // Behind the content there is less room than in all, as long as the content is not at the front.
            if receiver.start > 0 && end + u64::from(bytes) > receiver.connection.facts().capacity.into() {
                return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
            }
        }
        let did_not_fit = receiver.connection.is_misfit();
        let mut trial = receiver.connection.clone();
        let was_in_flight = trial.in_flight();
        let arriving = if was_in_flight { &receiver.in_flight } else { &arrived };
        trial.handle(event, arriving).map_err(|refusal| refusal.code())?;
        if trial.in_flight() && !was_in_flight {
            self.at(id).in_flight = arrived;
        }
        if let Event::Received { bytes } = event {
            let bytes = u64::from(bytes);
            self.counts.received_bytes += bytes;
            self.counts.dropped_bytes += if trial.is_open() { 0 } else { bytes };
        }
        let was_blocked = std::mem::replace(&mut self.at(id).connection, trial).facts().blocked != 0;
        if was_blocked && self.at(id).connection.facts().blocked == 0 {
            if let Some(lease) = self.at(id).lease {
                self.scheduler.progressed(lease, 0);
            }
        }
        if let Event::Consumed { bytes } = event {
            self.counts.consumed_bytes += u64::from(bytes);
            self.advance(id, bytes);
        }
        let blocks = matches!(event, Event::Block { .. } | Event::SetBlocked { .. });
        let ends = blocks || matches!(event, Event::EndOfStream | Event::TransportError | Event::Fail);
        let went_on = matches!(event, Event::Consumed { bytes } if bytes > 0);
        Ok(self.conclude(id, did_not_fit || ends || went_on))
    }

    fn decoded(&mut self, id: u64, consumed: u32, need_more: u32) -> Result<Step, i32> {
        let mut trial = self.find(id)?.connection.clone();
        if !trial.is_open() {
            return Err(DEMUXBUF_ERR_CLOSED);
        }
        let did_not_fit = trial.is_misfit();
        trial.handle(Event::Consumed { bytes: consumed }, &[]).map_err(|refusal| refusal.code())?;
        if need_more > 0 {
            trial.handle(Event::NeedMore { bytes: need_more }, &[]).map_err(|refusal| refusal.code())?;
        }
        self.at(id).connection = trial;
        self.counts.consumed_bytes += u64::from(consumed);
        self.advance(id, consumed);
        Ok(self.conclude(id, did_not_fit || consumed > 0))
    }

    fn pending(&mut self, id: u64) -> Result<Step, i32> {
        let pending = self.find(id)?.connection.pending();
        let actions = OWN.into_iter().fold(pending, |left, own| left.without(own.into()));
        Ok(self.show(id, actions))
    }

    fn take(&mut self, id: u64) -> Result<Taken, i32> {
        let receiver = self.find(id)?;
        let lease = receiver.lease.ok_or(DEMUXBUF_ERR_NO_BUFFER)?;
        if receiver.connection.in_flight() {
            return Err(DEMUXBUF_ERR_IN_FLIGHT);
        }
        let taken = Taken { lease, offset: receiver.start, buffered_bytes: receiver.connection.buffered_bytes() };
        let mut memory = vec![None; taken.offset as usize];
        memory.extend(receiver.connection.content());
        self.memory.insert(lease, memory);
        self.counts.taken_bytes += u64::from(taken.buffered_bytes);
        self.scheduler.stop_timing(lease);
        self.cancel_wait(id);
        let receiver = self.at(id);
        (receiver.lease, receiver.start) = (None, 0);
        self.apply_event(id, Event::BufferReleased);
        self.run_own_actions(id);
        Ok(taken)
    }

    fn grow(&mut self, id: u64, size_index: u8) -> Result<Step, i32> {
        let receiver = self.find(id)?;
        let capacity = self.bytes_of(size_index);
        if capacity == 0 {
            return Err(DEMUXBUF_ERR_SIZE);
        }
        let held = receiver.lease.ok_or(DEMUXBUF_ERR_NO_BUFFER)?;
        if capacity <= self.capacity_of(held) {
            return Err(DEMUXBUF_ERR_NOT_LARGER);
        }
        if receiver.wait.or(receiver.granted).is_some() {
            return Err(DEMUXBUF_ERR_ALREADY_WAITING);
        }
        if receiver.connection.in_flight() {
            return Err(DEMUXBUF_ERR_IN_FLIGHT);
        }
        let (ask, tenant) = (self.ask(id, size_index), self.at(id).tenant);
        self.scheduler.admit_beside(held, ask, tenant)?;
        match self.scheduler.request_as(ask, tenant, true)? {
            Asked::Lease(lease) => self.enter(id, lease),
            Asked::Wait(wait) => self.at(id).wait = Some(wait),
        }
        let actions = self.run_own_actions(id);
        Ok(self.show(id, actions))
    }

    fn set_tenant(&mut self, id: u64, tenant: Option<u64>) -> Result<(), i32> {
        self.find(id)?;
        let next = self.scheduler.pin(tenant, self.config.first_size_index)?;
        let was = std::mem::replace(&mut self.at(id).tenant, next);
        self.scheduler.unpin(was);
        Ok(())
    }

    fn set_class(&mut self, id: u64, class: u8) -> Result<(), i32> {
        self.find(id)?;
        self.check_class(class)?;
        self.at(id).class = class;
        let Ask { class, .. } = self.ask(id, 0);
        if let Some(wait) = self.at(id).wait {
            self.scheduler.reclass(wait, class);
        }
        Ok(())
    }

    fn set_policy(&mut self, id: u64, policy: Policy) -> Result<Step, i32> {
        self.find(id)?;
        check_policy(policy)?;
        self.at(id).connection.set_policy(policy).map_err(|refusal| refusal.code())?;
        let actions = self.run_own_actions(id);
        Ok(self.show(id, actions))
    }

    fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        // One entry is kept for each receiver.
        let receivers = self.receivers.values().filter(|receiver| receiver.wait.is_some()).count();
        let host_max = self.config.scheduler.waiters_max - self.config.receivers_max;
        let asked = if self.scheduler.waits() - receivers == host_max as usize {
            Asked::Lease(self.scheduler.try_request_timed(ask, false)?.ok_or(DEMUXBUF_ERR_TABLE_FULL)?)
        } else {
            self.scheduler.request_timed(ask, false)?
        };
        if let Asked::Lease(lease) = asked {
            self.memory.insert(lease, Vec::new());
        }
        Ok(asked)
    }

    fn try_request(&mut self, ask: Ask) -> Result<Option<u64>, i32> {
        let lease = self.scheduler.try_request_timed(ask, false)?;
        self.memory.extend(lease.map(|lease| (lease, Vec::new())));
        Ok(lease)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        self.memory.remove(&lease).ok_or(DEMUXBUF_ERR_STALE)?;
        self.scheduler.release(lease)
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        let is_receivers = self.receivers.values().any(|receiver| receiver.wait == Some(wait));
        if is_receivers || self.scheduler.wait(wait).is_none() {
            return Err(DEMUXBUF_ERR_STALE);
        }
        self.scheduler.cancel(wait)
    }

    fn content(&mut self, lease: u64) -> Result<Vec<Cell>, i32> {
        let known = self.memory.get(&lease).ok_or(DEMUXBUF_ERR_STALE)?.iter().copied();
        Ok(known.chain(std::iter::repeat(None)).take(self.capacity_of(lease) as usize).collect())
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        loop {
            let Some(granted) = self.scheduler.poll_notice() else {
                let Some(demand) = self.scheduler.poll_reclaim() else {
                    let is_possible = self.is_attach_awaited && !self.is_full();
                    self.is_attach_awaited &= !is_possible;
                    return is_possible.then_some(Notice::Attachable);
                };
                if self.spares(&demand) {
                    continue;
                }
                if let Some(asked) = self.reclaim(demand) {
                    return Some(asked);
                }
                continue;
            };
            let Notice::Lease { wait, lease, .. } = granted else {
                unreachable!("a scheduler has no receivers");
            };
            let owner = self.receivers.iter().find(|(_, receiver)| receiver.wait == Some(wait)).map(|(&id, _)| id);
            let Some(id) = owner else {
                self.memory.insert(lease, Vec::new());
                return Some(granted);
            };
            self.at(id).wait = None;
            if self.at(id).connection.in_flight() {
                self.at(id).granted = Some(lease);
                self.apply_event(id, Event::ReclaimRequested);
            } else {
                self.enter(id, lease);
            }
            if let Some(notice) = self.notice_for(id) {
                return Some(notice);
            }
        }
    }

    fn tick(&mut self, now_ns: u64) {
        self.scheduler.tick(now_ns);
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        self.scheduler.poll_timeout()
    }

    fn create_tenant(&mut self, tenant_config: TenantConfig) -> Result<u64, i32> {
        self.scheduler.create_tenant(tenant_config)
    }

    fn remove_tenant(&mut self, tenant: u64) -> Result<(), i32> {
        self.scheduler.remove_tenant(tenant)
    }

    fn describe_tenant(&mut self, tenant: u64) -> Result<TenantInfo, i32> {
        self.scheduler.describe_tenant(tenant)
    }

    fn describe(&mut self, id: u64) -> Result<Info, i32> {
        let receiver = self.find(id)?;
        let wait = receiver.wait.and_then(|wait| self.scheduler.wait(wait));
        let lease_info = receiver.lease.and_then(|lease| self.scheduler.describe_lease(lease)?.ok()?);
        Ok(Info {
            facts: receiver.connection.facts(),
            token: receiver.token,
            class: receiver.class,
            age_ns: wait.map_or(0, |wait| wait.age_ns),
            bypasses: wait.map_or(0, |wait| wait.bypasses),
            lease_info: lease_info.unwrap_or_default(),
        })
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<WaitInfo, i32>> {
        self.scheduler.describe_wait(wait)
    }

    fn bypass_bound(&mut self) -> u64 {
        self.scheduler.bypass_bound()
    }

    fn stats(&mut self) -> PoolStats {
        let buffers = u64::from(self.config.scheduler.buffers) * u64::from(self.config.buffer_bytes);
        let slots = self.slots().into_iter().zip(SLOT_SIZES).map(|(count, bytes)| u64::from(count) * bytes as u64);
        let below = self.scheduler.stats();
        filled!(self.counts;
            scheduler: below.scheduler,
            reclaim: below.reclaim,
            receivers: self.receivers.len() as u32,
            receivers_max: self.config.receivers_max,
            slots: self.slots().iter().sum(),
            slots_in_use: (0..SLOT_SIZES.len()).map(|size_index| self.slots_in_use(size_index)).sum(),
            slots_in_use_by_size: std::array::from_fn(|size_index| self.slots_in_use(size_index)),
            memory_bytes: buffers * self.budgets() + slots.sum::<u64>(),
        )
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        self.scheduler.check_invariants()?;
        let leases = self.receivers.values().flat_map(|receiver| receiver.lease.into_iter().chain(receiver.granted));
        let owned = leases.clone().count() + self.memory.len();
        let everyone_holds = leases.chain(self.memory.keys().copied()).all(|lease| self.scheduler.holds(lease));
        let PoolStats { consumed_bytes, dropped_bytes, taken_bytes, .. } = self.counts;
        let left = consumed_bytes + dropped_bytes + taken_bytes;
        let slots = (0..SLOT_SIZES.len()).all(|size_index| self.slots_in_use(size_index) <= self.slots()[size_index]);
        let mut rules = vec![
            (
                "I1: every buffer that is held has one holder",
                everyone_holds && owned == self.scheduler.stats().scheduler.leased as usize,
            ),
            ("I1: no more slots are in use than there are", slots),
            ("I5: every byte is somewhere or was counted", self.counts.received_bytes == left + self.buffered_bytes()),
        ];
        for receiver in self.receivers.values() {
            let facts = receiver.connection.facts();
            check_facts(&facts)?;
            let in_buffer = receiver.connection.hold() == Hold::Buffer;
            let left_open = OWN.iter().fold(0, |bits, &own| bits | own as u32) & facts.pending & !(Action::Park as u32);
            rules.push(("I2: a lease is held exactly with a buffer", receiver.lease.is_some() == in_buffer));
            rules.push(("I2: a slot is held exactly with its size", receiver.slot.is_some() == (facts.hold == 1)));
            let waits = receiver.wait.is_some() != receiver.granted.is_some();
            let for_larger = waits && in_buffer;
            rules.push((
                "I2: a wait, or a deferred grant, is there exactly while waiting",
                facts.waiting == (waits && !for_larger),
            ));
            let is_deferrable = receiver.granted.is_none() || facts.in_flight;
            rules.push(("a grant is deferred only for a receive in flight", is_deferrable));
            rules.push(("I5: the content lies inside", receiver.start + facts.buffered_bytes <= facts.capacity));
            rules.push(("what is not the host's is done", left_open == 0));
        }
        match rules.iter().find(|(_, holds)| !holds) {
            Some((rule, _)) => Err(format!("{rule}: {self:?}")),
            None => Ok(()),
        }
    }
}
