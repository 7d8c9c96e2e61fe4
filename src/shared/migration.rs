//! Receivers that move from the pool of one thread to that of another.

use super::exports::Ticket;
use super::pool_shard::PoolShard;
use crate::connection::{Connection, Event, EventError, Hold};
use crate::memory::SLOT_BYTES;
use crate::pool::{Place, Pool, PoolError, ReceiverId, Source};
use crate::scheduler::{LeaseId, WaitId};

/// A receiver between its export and its import, with what it holds and waits for. It belongs to no pool: if you drop
/// it, its buffer leaks until the shared pool is freed. To discard one, import it and close it.
#[derive(Debug)]
#[must_use = "its buffer and its wait are lost with it"]
pub struct ExportedReceiver {
    #[doc(hidden)]
    pub connection: Connection,
    #[doc(hidden)]
    pub token: u64,
    #[doc(hidden)]
    pub class: u8,
    #[doc(hidden)]
    pub lease: Option<LeaseId>,
    /// Where the content starts in the buffer, in bytes.
    #[doc(hidden)]
    pub offset: u32,
    #[doc(hidden)]
    pub wait: Option<WaitId>,
    /// What the parking slot held.
    #[doc(hidden)]
    pub parked: [u8; SLOT_BYTES],
    #[doc(hidden)]
    pub ticket: Ticket,
}

impl Pool<PoolShard> {
    /// Takes a receiver off this thread, in whatever state: idle, waiting, assigned a buffer, holding a buffer, parked. Its
    /// handle ends; [`import`](Pool::import) gives it another one. Meanwhile it keeps its place in the queue. Cost: O(1),
    /// a copy of at most 64 bytes, the lock of the exports, and the scheduler's lock if it waits.
    ///
    /// # Errors
    ///
    /// Nothing is changed if
    ///
    /// - the handle is stale or foreign, or the receiver is closed;
    /// - a receive is in flight;
    /// - it is parked in a slot of more than 64 bytes (it can move once it holds a buffer again);
    /// - the table of exports is full: [`EXPORTS_MAX`](super::EXPORTS_MAX) of those that wait, `receivers_max` for each
    ///   thread of all.
    pub fn export(&mut self, id: ReceiverId) -> Result<ExportedReceiver, PoolError> {
        let index = self.table.find(id)?;
        let connection = self.table.connection(index).clone();
        if !connection.is_open() {
            return Err(EventError::Closed.into());
        }
        self.check_not_in_flight(index)?;
        let place = self.table.place(index);
        if matches!(place, Place::Slot(slot) if self.memory.slots().bytes_of(slot) > SLOT_BYTES) {
            return Err(PoolError::NotMovable);
        }
        let wait = self.table.wait(index).map(|wait| self.source.wait_at(wait));
        let common = self.source.common.clone();
        let mut tickets = common.exports.lock();
        tickets.check_room()?;
        if let Some(wait) = wait {
            self.source.shard.export_wait(wait)?;
        }
        let mut exported = ExportedReceiver {
            connection,
            token: self.table.token(index),
            class: self.table.class(index),
            lease: None,
            offset: self.table.start(index),
            wait,
            parked: [0; SLOT_BYTES],
            ticket: common.exports.open(&mut tickets),
        };
        match place {
            Place::Nowhere => {}
            Place::Slot(slot) => {
                let buffered_bytes = exported.connection.buffered_bytes() as usize;
                exported.parked[..buffered_bytes].copy_from_slice(&self.memory.slots().slot(slot)[..buffered_bytes]);
                self.give_slot(slot);
            }
            Place::Buffer(buffer) => {
                let lease = self.source.lease_at(buffer);
                self.memory.arena().lend(buffer, 0..0);
                self.source.export_lease(lease);
                exported.lease = Some(lease);
            }
        }
        self.table.set_place(index, Place::Nowhere);
        self.table.set_wait(index, None);
        self.table.remove(index);
        self.counts.taken_bytes += u64::from(exported.connection.buffered_bytes());
        Ok(exported)
    }

    /// Imports a receiver that a thread exported; `exported` is empty then. Call [`pending`](Pool::pending) next. If a
    /// buffer was assigned to it meanwhile, `poll_notice` returns a notice.
    ///
    /// # Errors
    ///
    /// Nothing is changed, and you can try again on any thread, if
    ///
    /// - `exported` is empty, of another pool, imported already by way of a copy, or was changed;
    /// - its class does not exist, or the table of receivers is full;
    /// - it holds a parking slot and none of 64 bytes is free here.
    pub fn import(&mut self, exported: &mut ExportedReceiver) -> Result<ReceiverId, PoolError> {
        let common = self.source.common.clone();
        let mut tickets = common.exports.lock();
        common.exports.check(&tickets, exported.ticket)?;
        self.check_class(exported.class)?;
        self.table.check_free()?;
        self.check_exported(exported)?;
        let place = match (exported.connection.hold(), exported.lease) {
            (Hold::Slot, None) => Place::Slot(self.memory.slots_mut().take_smallest().ok_or(PoolError::NoSlotFree)?),
            (Hold::Buffer, Some(lease)) => {
                self.source.import_lease(lease)?;
                Place::Buffer(lease.index())
            }
            _ => Place::Nowhere,
        };
        let index = self.table.insert(exported.connection.clone(), exported.class, exported.token)?;
        if let Some(wait) = exported.wait {
            if let Err(error) = self.source.shard.import_wait(wait, index.into()) {
                self.table.remove(index);
                if let Place::Slot(slot) = place {
                    self.give_slot(slot);
                }
                return Err(error.into());
            }
            self.table.set_wait(index, Some(wait.index()));
        }
        self.table.set_place(index, place);
        match place {
            Place::Nowhere => {}
            Place::Slot(slot) => self.memory.slots_mut().slot_mut(slot).copy_from_slice(&exported.parked),
            Place::Buffer(buffer) => self.table.set_start(buffer, exported.offset),
        }
        self.counts.received_bytes += u64::from(exported.connection.buffered_bytes());
        tickets.close(exported.ticket);
        exported.connection = Connection::default();
        (exported.lease, exported.wait, exported.ticket) = (None, None, Ticket::default());
        Ok(self.table.id(index))
    }

    /// A C host can change the value, so each field is checked.
    fn check_exported(&self, exported: &ExportedReceiver) -> Result<(), PoolError> {
        let ExportedReceiver { connection, lease, offset, wait, .. } = exported;
        let (buffered_bytes, capacity) = (connection.buffered_bytes(), connection.capacity());
        let is_held = match connection.hold() {
            Hold::None => lease.is_none() && buffered_bytes == 0 && capacity == 0,
            Hold::Slot => lease.is_none() && capacity as usize == SLOT_BYTES && buffered_bytes <= capacity,
            Hold::Buffer => {
                let inside = offset.checked_add(buffered_bytes).is_some_and(|end| end <= capacity);
                inside && capacity == self.config.buffer_bytes && lease.is_some() && wait.is_none()
            }
        };
        // A poisoned one refuses every event.
        let answers = connection.clone().handle(Event::Wake).is_ok();
        let is_sound = answers && connection.is_open() && !connection.is_in_flight() && connection.has_known_mode();
        let waits = connection.is_waiting() == wait.is_some();
        if is_held && is_sound && waits { Ok(()) } else { Err(PoolError::Stale) }
    }
}

// Loom's structures may only be made inside a model, and these tests have one thread.
#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::connection::{Action, Mode, Policy};
    use crate::pool::{AttachOptions, PoolConfig};
    use crate::scheduler::{Outcome, SchedulerError};
    use crate::shared::SharedPool;

    /// One of each kind: it holds nothing, a buffer, a slot, a full slot while it waits for a buffer, or nothing while it
    /// waits, since there are two slots.
    fn some(pool: &mut Pool<PoolShard>) -> [ReceiverId; 5] {
        [0, 200, 20, 64, 1].map(|bytes| {
            let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
            let is_readable = bytes > 0;
            if is_readable && pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv) {
                pool.handle(id, Event::Received { bytes }).expect("there is room");
            }
            id
        })
    }

    fn foreign_lease() -> LeaseId {
        LeaseId::from_bits(1 << 40 | 1)
    }

    fn foreign_wait() -> WaitId {
        WaitId::from_bits(1 << 40 | 1)
    }

    fn connection_of(buffered_bytes: u32, capacity: u32) -> Connection {
        let mut connection = Connection::default();
        connection.handle(Event::Attach { buffered_bytes, capacity }).expect("it is not attached");
        connection
    }

    fn connection_in_flight() -> Connection {
        let mut connection = Connection::new(Policy { mode: Mode::Completion, ..Policy::default() });
        let attach = Event::Attach { buffered_bytes: 10, capacity: 256 };
        for event in [attach, Event::NeedMore { bytes: 5 }, Event::Readable, Event::done(Action::Recv)] {
            connection.handle(event).expect("it is to receive");
        }
        assert!(connection.is_in_flight());
        connection
    }

    /// A lease of the host's own that outlived its thread's pool is not that of an exported receiver.
    #[test]
    fn s82_lease_that_was_left_is_not_imported() {
        let config = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(2, 5) };
        let shared_pool = SharedPool::new(&config, 2).expect("the configuration is allowed");
        let [mut from, mut to] = [0, 1].map(|index| shared_pool.shard(index).expect("it is free"));
        let Ok(Outcome::Granted(lease)) = from.request(0, 0) else { panic!("one is free") };
        drop(from);
        let [_, id, ..] = some(&mut to);
        let mut exported = to.export(id).expect("it holds a buffer");
        let own = exported.lease.replace(lease);
        assert_eq!(to.import(&mut exported), Err(SchedulerError::StaleLease.into()));
        exported.lease = own;
        to.import(&mut exported).expect("it is as it was");
        to.release(lease).expect("it is the host's");
        assert_eq!(to.check_invariants(), Ok(()));
    }

    #[test]
    fn import_refuses_changes_and_takes_the_original() {
        let mut config = PoolConfig { buffer_bytes: 256, slots: 2, ..PoolConfig::new(1, 5) };
        config.policy.mode = Mode::OneShot;
        let shared_pool = SharedPool::new(&config, 2).expect("the configuration is allowed");
        let pool = |index| shared_pool.shard(index).expect("it is free");
        let (mut from, mut to) = (pool(0), pool(1));
        for id in some(&mut from) {
            let mut exported = from.export(id).expect("it can move");
            let before = (exported.connection.clone(), exported.lease, exported.offset, exported.wait, exported.ticket);
            // Each changes one field, so that it does not fit the others.
            let changes: [fn(&mut ExportedReceiver); 13] = [
                |exported| exported.lease = exported.lease.is_none().then(foreign_lease),
                |exported| exported.wait = exported.wait.is_none().then(foreign_wait),
                |exported| exported.lease = Some(foreign_lease()),
                |exported| exported.wait = Some(foreign_wait()),
                |exported| exported.offset = if exported.lease.is_some() { 57 } else { 0 },
                |exported| exported.connection = Connection::default(),
                |exported| exported.connection = connection_of(10, 100),
                |exported| exported.connection = connection_of(10, 64),
                |exported| exported.connection = connection_in_flight(),
                |exported| exported.connection = Connection::poisoned(),
                |exported| exported.ticket.pool += 1,
                |exported| exported.ticket.entry += 1,
                |exported| exported.ticket.uses += 1,
            ];
            for (at, change) in changes.iter().enumerate() {
                change(&mut exported);
                let now =
                    (exported.connection.clone(), exported.lease, exported.offset, exported.wait, exported.ticket);
                if now != before {
                    let refused = to.import(&mut exported);
                    let is_stale = matches!(
                        refused,
                        Err(PoolError::Stale
                            | PoolError::Scheduler(SchedulerError::StaleLease | SchedulerError::StaleWait))
                    );
                    assert!(is_stale, "change {at} is refused as {refused:?}: {exported:?}");
                }
                (exported.connection, exported.lease, exported.offset, exported.wait, exported.ticket) = before.clone();
                from.check_invariants().expect("nothing is changed");
                to.check_invariants().expect("nothing is changed");
            }
            let id = to.import(&mut exported).expect("it is as it was");
            to.handle(id, Event::Close).expect("it is attached");
        }
        assert_eq!((to.stats().scheduler.leased, to.stats().scheduler.waiting, to.stats().slots_in_use), (0, 0, 0));
    }
}
