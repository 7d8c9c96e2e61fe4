//! A pool, its memory and the connections that receive into it, as the docs of `demuxbuf::receiver` have them.

use super::{ModelConnection, ModelPool};
use crate::check_facts;
use crate::subject::{Asked, Cell, Counts, Granted, Info, Step, Subject, Taken};
use demuxbuf::connection::{Action, Actions, Event, Hold};
use demuxbuf::ffi::*;
use demuxbuf::memory::SLOT_BYTES;
use demuxbuf::receiver::ReceiversConfig;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

const OWN: [Action; 5] =
    [Action::Discard, Action::CancelRequest, Action::ReleaseBuffer, Action::RequestBuffer, Action::Park];

/// One receiver.
#[derive(Clone, Debug)]
struct Receiver {
    connection: ModelConnection,
    /// Where the content starts in what is held.
    start: u32,
    lease: Option<u64>,
    wait: Option<u64>,
    /// Granted while a receive was in flight, for when that is over.
    granted: Option<u64>,
    /// What the system writes for the receive in flight.
    in_flight: Vec<Cell>,
    token: u64,
    class: u8,
}

/// Receivers with the bytes that they hold.
#[derive(Clone, Debug)]
pub struct ModelReceivers {
    config: ReceiversConfig,
    pool: ModelPool,
    receivers: BTreeMap<u64, Receiver>,
    /// The host's own buffers, with what is known to be in them.
    memory: BTreeMap<u64, Vec<Cell>>,
    /// Written by the host for the next `Received`.
    arriving: Vec<Cell>,
    next_receiver: u64,
    counts: Counts,
}

impl ModelReceivers {
    /// Receivers with this configuration.
    pub fn new(config: &ReceiversConfig) -> ModelReceivers {
        ModelReceivers {
            config: *config,
            pool: ModelPool::new(&config.pool),
            receivers: BTreeMap::new(),
            memory: BTreeMap::new(),
            arriving: Vec::new(),
            next_receiver: 0,
            counts: Counts::new(),
        }
    }

    /// A number for all that the future depends on, the same for states that differ only in who is who and in the values
    /// of bytes and counts. `of_subject` adds what the subject knows of a receiver.
    pub fn shape(&self, of_subject: impl Fn(u64) -> u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.pool.hash_shape(&mut hasher);
        let mut shapes: Vec<u64> = self
            .receivers
            .iter()
            .map(|(&id, receiver)| {
                let mut hasher = DefaultHasher::new();
                receiver.connection.hash_shape(&mut hasher);
                let lease_class = receiver.lease.and_then(|lease| self.pool.class_of(lease));
                let place = receiver.wait.and_then(|wait| self.pool.place(wait));
                (receiver.start, lease_class, place, receiver.class, of_subject(id)).hash(&mut hasher);
                hasher.finish()
            })
            .collect();
        shapes.sort_unstable();
        shapes.hash(&mut hasher);
        self.memory.keys().map(|&lease| self.pool.class_of(lease)).collect::<Vec<_>>().hash(&mut hasher);
        hasher.finish()
    }

    /// What is buffered by all receivers, in bytes.
    pub fn buffered_bytes(&self) -> u64 {
        let open =
            self.receivers.values().map(|receiver| &receiver.connection).filter(|connection| connection.is_open());
        open.map(|connection| u64::from(connection.level())).sum()
    }

    fn add(&mut self, name: &'static str, amount: impl Into<u64>) {
        *self.counts.entry(name).or_default() += amount.into();
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    fn find(&self, id: u64) -> Result<&Receiver, i32> {
        self.receivers.get(&id).ok_or(DEMUXBUF_ERR_STALE)
    }

    fn at(&mut self, id: u64) -> &mut Receiver {
        self.receivers.get_mut(&id).expect("an id that was found")
    }

    fn slots_in_use(&self) -> u32 {
        let in_slot = |receiver: &&Receiver| receiver.connection.hold() == Hold::Slot;
        self.receivers.values().filter(in_slot).count() as u32
    }

    fn check_class(&self, class: u8) -> Result<(), i32> {
        if usize::from(class) < self.pool.classes() { Ok(()) } else { Err(DEMUXBUF_ERR_CLASS) }
    }

    fn check_attach(&self, class: u8) -> Result<(), i32> {
        self.check_class(class)?;
        let is_full = self.receivers.len() == self.config.receivers_max as usize;
        if is_full { Err(DEMUXBUF_ERR_TABLE_FULL) } else { Ok(()) }
    }

    fn attach_in_slot(&mut self, class: u8, token: u64, bytes: &[Cell]) -> Result<u64, i32> {
        let id = self.insert(class, token)?;
        let (level, capacity) = (bytes.len() as u32, SLOT_BYTES as u32);
        self.add("entered_bytes", level);
        self.at(id).connection.handle(Event::Attach { level, capacity }, bytes).expect("the content lies inside");
        self.enter_slot(id);
        Ok(id)
    }

    fn insert(&mut self, class: u8, token: u64) -> Result<u64, i32> {
        self.check_attach(class)?;
        self.next_receiver += 1;
        let connection = ModelConnection::new(self.config.policy);
        self.receivers.insert(
            self.next_receiver,
            Receiver {
                connection,
                start: 0,
                lease: None,
                wait: None,
                granted: None,
                in_flight: Vec::new(),
                token,
                class,
            },
        );
        Ok(self.next_receiver)
    }

    fn tell(&mut self, id: u64, event: Event) {
        self.at(id).connection.handle(event, &[]).expect("an event that the connection asked for");
    }

    /// Takes bytes off the front, and remembers where the rest begins: in a slot always at the front.
    fn advance(&mut self, id: u64, bytes: u32) {
        let receiver = self.at(id);
        let is_empty = receiver.connection.level() == 0 && !receiver.connection.in_flight();
        let at_front = is_empty || receiver.connection.hold() == Hold::Slot;
        receiver.start = if at_front { 0 } else { receiver.start + bytes };
    }

    /// Does what is asked about buffers, until nothing is left but what the host does.
    fn settle(&mut self, id: u64) -> Actions {
        loop {
            let pending = self.at(id).connection.pending();
            let done = match OWN.into_iter().find(|&action| pending.has(action)) {
                Some(Action::Discard) => self.discard(id),
                Some(Action::CancelRequest) => self.cancel_request(id),
                Some(Action::ReleaseBuffer) => self.release_held(id),
                Some(Action::RequestBuffer) => self.request_buffer(id),
                Some(Action::Park) => self.park(id),
                _ => false,
            };
            if !done {
                return OWN.into_iter().fold(pending, |left, own| left.without(own.into()));
            }
        }
    }

    fn discard(&mut self, id: u64) -> bool {
        let bytes = self.at(id).connection.level();
        self.add("dropped_bytes", bytes);
        self.tell(id, Event::Consumed { bytes });
        self.advance(id, bytes);
        true
    }

    fn cancel_request(&mut self, id: u64) -> bool {
        match self.at(id).wait.take() {
            Some(wait) => self.pool.cancel(wait).expect("a wait in force"),
            None => {
                let granted = self.at(id).granted.take().expect("who waits has a wait, or a grant kept back");
                self.pool.release(granted).expect("a lease in force");
            }
        }
        self.tell(id, Event::done(Action::CancelRequest));
        true
    }

    fn release_held(&mut self, id: u64) -> bool {
        self.at(id).start = 0;
        if let Some(lease) = self.at(id).lease.take() {
            self.pool.release(lease).expect("a lease in force");
        }
        self.tell(id, Event::BufferReleased);
        true
    }

    fn request_buffer(&mut self, id: u64) -> bool {
        let (class, token) = (self.at(id).class, self.at(id).token);
        match self.pool.request(class, token).expect("there is a wait for each receiver") {
            Asked::Lease(lease) => self.enter(id, lease),
            Asked::Wait(wait) => {
                self.at(id).wait = Some(wait);
                self.tell(id, Event::BufferDenied);
                if self.config.lifeline && self.at(id).connection.hold() == Hold::None && self.has_slot() {
                    self.add("lifelines", 1u8);
                    self.enter_slot(id);
                }
            }
        }
        true
    }

    fn has_slot(&self) -> bool {
        self.slots_in_use() < self.config.slots
    }

    fn enter_slot(&mut self, id: u64) {
        self.at(id).start = 0;
        self.tell(id, Event::BufferParked { capacity: SLOT_BYTES as u32 });
        let peak = self.count("slots_in_use_peak").max(self.slots_in_use().into());
        self.counts.insert("slots_in_use_peak", peak);
    }

    /// What a slot held comes to the front of the buffer.
    fn enter(&mut self, id: u64, lease: u64) {
        if self.at(id).connection.level() > 0 {
            self.add("unparked", 1u8);
        }
        self.at(id).lease = Some(lease);
        self.at(id).start = 0;
        let capacity = self.config.buffer_bytes;
        self.tell(id, Event::BufferGranted { capacity });
    }

    fn park(&mut self, id: u64) -> bool {
        if !self.has_slot() {
            self.add("park_refused", 1u8);
            return false;
        }
        self.add("parked", 1u8);
        self.enter_slot(id);
        let lease = self.at(id).lease.take().expect("what is parked was in a buffer");
        self.pool.release(lease).expect("a lease in force");
        true
    }

    /// What a step shows: where to receive, or what is buffered.
    fn show(&mut self, id: u64, actions: Actions) -> Step {
        let Some(receiver) = self.receivers.get_mut(&id) else {
            return Step { actions: actions.bits(), area: 0, data: Vec::new() };
        };
        let (area, start, level) = (receiver.connection.recv_max(), receiver.start, receiver.connection.level());
        if area == 0 {
            return Step { actions: actions.bits(), area, data: receiver.connection.content() };
        }
        receiver.start = 0;
        if start > 0 && level > 0 {
            self.add("compactions", 1u8);
            self.add("compacted_bytes", level);
        }
        Step { actions: actions.bits(), area, data: Vec::new() }
    }

    fn close(&mut self, id: u64) -> Result<Step, i32> {
        let connection = &self.find(id)?.connection;
        let lost = if connection.is_open() { connection.level() } else { 0 };
        self.add("dropped_bytes", lost);
        self.tell(id, Event::Close);
        Ok(self.conclude(id))
    }

    /// What is left to do after an event: a grant that was kept back is used, what is the receiver's is done, and one
    /// that is finished goes.
    fn conclude(&mut self, id: u64) -> Step {
        let connection = &self.at(id).connection;
        if connection.is_open() && !connection.in_flight() {
            if let Some(lease) = self.at(id).granted.take() {
                self.enter(id, lease);
            }
        }
        let actions = self.settle(id);
        if actions.has(Action::Finished) {
            self.receivers.remove(&id);
        }
        self.show(id, actions)
    }
}

fn known(bytes: &[u8]) -> Vec<Cell> {
    bytes.iter().copied().map(Some).collect()
}

impl Subject for ModelReceivers {
    fn attach(&mut self, class: u8, token: u64, bytes: &[u8]) -> Result<u64, i32> {
        if bytes.is_empty() {
            let id = self.insert(class, token)?;
            self.tell(id, Event::Attach { level: 0, capacity: 0 });
            self.settle(id);
            return Ok(id);
        }
        if bytes.len() > self.config.buffer_bytes as usize {
            return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
        }
        self.check_attach(class)?;
        if bytes.len() <= SLOT_BYTES && self.has_slot() {
            return self.attach_in_slot(class, token, &known(bytes));
        }
        let lease = self.pool.request_now(class)?.ok_or(DEMUXBUF_ERR_NO_BUFFER_FREE)?;
        self.memory.insert(lease, known(bytes));
        self.adopt(class, token, Taken { lease, offset: 0, level: bytes.len() as u32 })
    }

    fn adopt(&mut self, class: u8, token: u64, content: Taken) -> Result<u64, i32> {
        let Taken { lease, offset, level } = content;
        let memory = self.memory.get(&lease).ok_or(DEMUXBUF_ERR_STALE)?;
        if u64::from(offset) + u64::from(level) > self.config.buffer_bytes.into() {
            return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
        }
        let bytes: Vec<Cell> =
            memory.iter().copied().chain(std::iter::repeat(None)).skip(offset as usize).take(level as usize).collect();
        let id = self.insert(class, token)?;
        self.memory.remove(&lease);
        self.add("entered_bytes", level);
        let capacity = self.config.buffer_bytes;
        let receiver = self.at(id);
        (receiver.lease, receiver.start) = (Some(lease), offset);
        receiver.connection.handle(Event::Attach { level, capacity }, &bytes).expect("the content lies inside");
        self.settle(id);
        Ok(id)
    }

    fn write(&mut self, receiver: u64, bytes: &[u8]) {
        let area = self.receivers.get(&receiver).map_or(0, |receiver| receiver.connection.recv_max());
        self.arriving = bytes.iter().take(area as usize).copied().map(Some).collect();
    }

    fn report(&mut self, id: u64, event: Event) -> Result<Step, i32> {
        let arrived = std::mem::take(&mut self.arriving);
        let receiver = self.find(id)?;
        let end = u64::from(receiver.start) + u64::from(receiver.connection.level());
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
        let mut trial = receiver.connection.clone();
        let was_in_flight = trial.in_flight();
        let arriving = if was_in_flight { &receiver.in_flight } else { &arrived };
        trial.handle(event, arriving).map_err(|refusal| refusal.code())?;
        if trial.in_flight() && !was_in_flight {
            self.at(id).in_flight = arrived;
        }
        if let Event::Received { bytes } = event {
            self.add("received_bytes", bytes);
            self.add("entered_bytes", bytes);
            self.add("dropped_bytes", if trial.is_open() { 0 } else { bytes });
        }
        self.at(id).connection = trial;
        if let Event::Consumed { bytes } = event {
            self.add("consumed_bytes", bytes);
            self.advance(id, bytes);
        }
        Ok(self.conclude(id))
    }

    fn decoded(&mut self, id: u64, consumed: u32, need_more: u32) -> Result<Step, i32> {
        let mut trial = self.find(id)?.connection.clone();
        if !trial.is_open() {
            return Err(DEMUXBUF_ERR_CLOSED);
        }
        trial.handle(Event::Consumed { bytes: consumed }, &[]).map_err(|refusal| refusal.code())?;
        if need_more > 0 {
            trial.handle(Event::NeedMore { bytes: need_more }, &[]).map_err(|refusal| refusal.code())?;
        }
        self.at(id).connection = trial;
        self.add("consumed_bytes", consumed);
        self.advance(id, consumed);
        Ok(self.conclude(id))
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
        let taken = Taken { lease, offset: receiver.start, level: receiver.connection.level() };
        let mut memory = vec![None; taken.offset as usize];
        memory.extend(receiver.connection.content());
        self.memory.insert(lease, memory);
        self.add("handed_over_bytes", taken.level);
        let receiver = self.at(id);
        (receiver.lease, receiver.start) = (None, 0);
        self.tell(id, Event::BufferReleased);
        self.settle(id);
        Ok(taken)
    }

    fn request(&mut self, class: u8, token: u64) -> Result<Asked, i32> {
        if let Some(lease) = self.pool.request_now(class)? {
            self.memory.insert(lease, Vec::new());
            return Ok(Asked::Lease(lease));
        }
        // One entry is kept for each receiver.
        let receivers = self.receivers.values().filter(|receiver| receiver.wait.is_some()).count();
        let host_max = self.config.pool.waiters_max - self.config.receivers_max;
        if self.pool.waits() - receivers == host_max as usize {
            return Err(DEMUXBUF_ERR_TABLE_FULL);
        }
        self.pool.request(class, token)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        self.memory.remove(&lease).ok_or(DEMUXBUF_ERR_STALE)?;
        self.pool.release(lease)
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        let is_receivers = self.receivers.values().any(|receiver| receiver.wait == Some(wait));
        if is_receivers || self.pool.wait(wait).is_none() {
            return Err(DEMUXBUF_ERR_STALE);
        }
        self.pool.cancel(wait)
    }

    fn content(&mut self, lease: u64) -> Result<Vec<Cell>, i32> {
        let known = self.memory.get(&lease).ok_or(DEMUXBUF_ERR_STALE)?.iter().copied();
        Ok(known.chain(std::iter::repeat(None)).take(self.config.buffer_bytes as usize).collect())
    }

    fn poll_grant(&mut self) -> Option<Granted> {
        while let Some(granted) = self.pool.poll_grant() {
            let Granted::Lease { wait, token, lease } = granted else {
                unreachable!("a pool knows no receivers");
            };
            let owner = self.receivers.iter().find(|(_, receiver)| receiver.wait == Some(wait)).map(|(&id, _)| id);
            let Some(id) = owner else {
                self.memory.insert(lease, Vec::new());
                return Some(granted);
            };
            self.at(id).wait = None;
            if self.at(id).connection.in_flight() {
                self.at(id).granted = Some(lease);
                self.tell(id, Event::ReclaimRequested);
            } else {
                self.enter(id, lease);
            }
            let actions = self.settle(id);
            if !actions.is_empty() {
                return Some(Granted::Receiver { id, token, step: self.show(id, actions) });
            }
        }
        None
    }

    fn tick(&mut self, now_ns: u64) {
        self.pool.tick(now_ns);
    }

    fn describe(&mut self, id: u64) -> Result<Info, i32> {
        let receiver = self.find(id)?;
        let (age_ns, passed, _) = receiver.wait.and_then(|wait| self.pool.wait(wait)).unwrap_or_default();
        Ok(Info { facts: receiver.connection.facts(), token: receiver.token, class: receiver.class, age_ns, passed })
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<(u64, u64, bool), i32>> {
        self.pool.describe_wait(wait)
    }

    fn passed_max(&mut self, class: u8) -> Result<u64, i32> {
        self.pool.passed_max(class)
    }

    fn counts(&mut self) -> Counts {
        let mut counts = self.pool.counts();
        let named = [
            "parked",
            "unparked",
            "lifelines",
            "park_refused",
            "compactions",
            "compacted_bytes",
            "received_bytes",
            "consumed_bytes",
            "dropped_bytes",
            "handed_over_bytes",
            "slots_in_use_peak",
        ];
        counts.extend(named.map(|name| (name, self.count(name))));
        let memory = u64::from(self.config.pool.buffers) * u64::from(self.config.buffer_bytes);
        counts.insert("memory_bytes", memory + u64::from(self.config.slots) * SLOT_BYTES as u64);
        counts.insert("receivers", self.receivers.len() as u64);
        counts.insert("receivers_max", self.config.receivers_max.into());
        counts.insert("slots", self.config.slots.into());
        counts.insert("slots_in_use", self.slots_in_use().into());
        counts
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        self.pool.check_invariants()?;
        let leases = self.receivers.values().flat_map(|receiver| receiver.lease.into_iter().chain(receiver.granted));
        let owned = leases.clone().count() + self.memory.len();
        let everyone_holds = leases.chain(self.memory.keys().copied()).all(|lease| self.pool.holds(lease));
        let left = self.count("consumed_bytes") + self.count("dropped_bytes") + self.count("handed_over_bytes");
        let mut rules = vec![
            (
                "I1: every buffer that is held has one holder",
                everyone_holds && owned as u64 == self.pool.counts()["leased"],
            ),
            ("I1: no more slots are in use than there are", self.slots_in_use() <= self.config.slots),
            ("I5: every byte is somewhere or was counted", self.count("entered_bytes") == left + self.buffered_bytes()),
        ];
        for receiver in self.receivers.values() {
            let facts = receiver.connection.facts();
            check_facts(&facts)?;
            let in_buffer = receiver.connection.hold() == Hold::Buffer;
            let left_open = OWN.iter().fold(0, |bits, &own| bits | own as u32) & facts.pending & !(Action::Park as u32);
            rules.push(("I2: a lease is held exactly with a buffer", receiver.lease.is_some() == in_buffer));
            let waits = receiver.wait.is_some() != receiver.granted.is_some();
            rules.push(("I2: a wait, or a grant kept back, is there exactly while waiting", waits == facts.waiting));
            let kept_back = receiver.granted.is_none() || facts.in_flight;
            rules.push(("a grant is kept back only for a receive in flight", kept_back));
            rules.push(("I5: the content lies inside", receiver.start + facts.level <= facts.capacity));
            rules.push(("what is not the host's is done", left_open == 0));
        }
        match rules.iter().find(|(_, holds)| !holds) {
            Some((rule, _)) => Err(format!("{rule}: {self:?}")),
            None => Ok(()),
        }
    }
}
