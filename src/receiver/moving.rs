//! What only receivers of a shared pool do: wake other threads, and move between them.

use super::entry::Place;
use super::source::Source;
use super::{ReceiverError, ReceiverId, Receivers};
use crate::connection::{Connection, Event, EventError, Hold};
use crate::memory::SLOT_BYTES;
use crate::pool::{LeaseId, WaitId};
use crate::receiver::sharded::Sharded;

/// A receiver on its way from one thread to another, with all that it holds and waits for. It is nobody's: whoever loses it
/// loses its buffer until the pool is gone.
#[derive(Debug)]
#[must_use = "its buffer and its wait are lost with it"]
pub struct Moving {
    pub(crate) connection: Connection,
    pub(crate) token: u64,
    pub(crate) class: u8,
    pub(crate) lease: Option<LeaseId>,
    /// Where the content starts in the buffer, in bytes.
    pub(crate) offset: u32,
    pub(crate) wait: Option<WaitId>,
    /// What the parking slot held.
    pub(crate) residue: [u8; SLOT_BYTES],
}

impl Receivers {
    /// A thread that has something to do, and sleeps for all that is known: it is to call
    /// [`poll_grant`](Receivers::poll_grant). The host tells it, by an eventfd or its like. Call it until `None`, before this
    /// thread sleeps. Takes no lock. `None` for a pool that is not shared.
    pub fn poll_wake(&mut self) -> Option<u32> {
        self.sharded().ok()?.shard.poll_wake()
    }

    /// Whether the calling thread is the one that these receivers are bound to, if they are. Costs a load and a
    /// comparison.
    ///
    /// # Errors
    ///
    /// They are another thread's.
    pub fn check_thread(&self) -> Result<(), ReceiverError> {
        match &self.pool {
            Source::Pool(_) => Ok(()),
            Source::Shard(sharded) => Ok(sharded.shard.check_thread()?),
        }
    }

    /// Takes a receiver off this thread, in whatever state: idle, waiting, served and not told yet, holding a buffer,
    /// parked. Its handle ends; it goes on as another one's after [`import`](Receivers::import). Meanwhile it keeps its
    /// place in the queue. Cost: O(1), a copy of at most 64 bytes, and the pool's lock if it waits.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; the receiver is closed; a receive is in flight; it is parked in a slot of more than
    /// 64 bytes (it can move once it holds a buffer again); so many that wait are on their way that no more can be; the
    /// pool is not shared. Nothing is changed.
    pub fn export(&mut self, id: ReceiverId) -> Result<Moving, ReceiverError> {
        self.sharded()?;
        let index = self.table.find(id)?;
        let connection = self.table.connection(index).clone();
        if !connection.is_open() {
            return Err(EventError::Closed.into());
        }
        self.check_not_in_flight(index)?;
        let place = self.table.place(index);
        if matches!(place, Place::Slot(slot) if self.memory.slots().bytes_of(slot) > SLOT_BYTES) {
            return Err(ReceiverError::TooManyBytes);
        }
        let wait = self.table.wait(index).map(|wait| self.pool.wait_at(wait));
        let sharded = self.sharded()?;
        if let Some(wait) = wait {
            sharded.shard.export_wait(wait)?;
        }
        let mut moving = Moving {
            connection,
            token: self.table.token(index),
            class: self.table.class(index),
            lease: None,
            offset: self.table.start(index),
            wait,
            residue: [0; SLOT_BYTES],
        };
        match place {
            Place::Nowhere => {}
            Place::Slot(slot) => {
                let level = moving.connection.level() as usize;
                moving.residue[..level].copy_from_slice(&self.memory.slots().slot(slot)[..level]);
                self.give_slot(slot);
            }
            Place::Buffer(buffer) => {
                let lease = self.pool.lease_at(buffer);
                self.sharded()?.export_lease(lease);
                moving.lease = Some(lease);
            }
        }
        self.table.set_place(index, Place::Nowhere);
        self.table.set_wait(index, None);
        self.table.remove(index);
        Ok(moving)
    }

    /// Takes in a receiver that another thread has exported; `moving` is empty then. Call
    /// [`pending`](Receivers::pending) next: if it was served on the way, `poll_grant` says so.
    ///
    /// # Errors
    ///
    /// It is empty, of another pool, or was changed; its class does not exist; the table is full; it holds a parking slot
    /// and none of 64 bytes is free here; the pool is not shared. Nothing is changed, it can be tried again, here or
    /// elsewhere.
    pub fn import(&mut self, moving: &mut Moving) -> Result<ReceiverId, ReceiverError> {
        self.sharded()?;
        self.check_class(moving.class)?;
        self.table.check_free()?;
        self.check_moving(moving)?;
        let place = match (moving.connection.hold(), moving.lease) {
            (Hold::Slot, None) => {
                Place::Slot(self.memory.slots_mut().take_smallest().ok_or(ReceiverError::NoBufferFree)?)
            }
            (Hold::Buffer, Some(lease)) => {
                self.sharded()?.import_lease(lease)?;
                Place::Buffer(lease.index())
            }
            _ => Place::Nowhere,
        };
        let index = self.table.insert(moving.connection.clone(), moving.class, moving.token)?;
        if let Some(wait) = moving.wait {
            if let Err(error) = self.sharded()?.shard.import_wait(wait, index.into()) {
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
            Place::Slot(slot) => self.memory.slots_mut().slot_mut(slot).copy_from_slice(&moving.residue),
            Place::Buffer(buffer) => self.table.set_start(buffer, moving.offset),
        }
        moving.connection = Connection::default();
        (moving.lease, moving.wait) = (None, None);
        Ok(self.table.id(index))
    }

    /// A lease of the host's own was taken on another thread, whose host vouches that it uses the buffer no more.
    #[cfg(any(test, feature = "ffi"))]
    pub(crate) fn claim_lease(&self, lease: LeaseId) -> Result<(), ReceiverError> {
        match &self.pool {
            Source::Pool(_) => Ok(()),
            Source::Shard(sharded) if sharded.check_lease(lease).is_ok() => Ok(()),
            Source::Shard(sharded) => Ok(sharded.shard.claim_lease(lease)?),
        }
    }

    fn sharded(&mut self) -> Result<&mut Sharded, ReceiverError> {
        match &mut self.pool {
            Source::Pool(_) => Err(ReceiverError::NotShared),
            Source::Shard(sharded) => Ok(sharded),
        }
    }

    /// C hands the value over as it likes, so nothing in it is taken on trust.
    fn check_moving(&self, moving: &Moving) -> Result<(), ReceiverError> {
        let Moving { connection, lease, offset, wait, .. } = moving;
        let (level, capacity) = (connection.level(), connection.capacity());
        let is_held = match connection.hold() {
            Hold::None => lease.is_none() && level == 0 && capacity == 0,
            Hold::Slot => lease.is_none() && capacity as usize == SLOT_BYTES && level <= capacity,
            Hold::Buffer => {
                let inside = offset.checked_add(level).is_some_and(|end| end <= capacity);
                inside && capacity == self.config.buffer_bytes && lease.is_some() && wait.is_none()
            }
        };
        // A poisoned one refuses every event.
        let answers = connection.clone().handle(Event::Wake).is_ok();
        let is_sound = answers
            && connection.is_open()
            && !connection.is_in_flight()
            && connection.has_mode(self.config.policy.mode);
        let waits = connection.is_waiting() == wait.is_some();
        if is_held && is_sound && waits { Ok(()) } else { Err(ReceiverError::Stale) }
    }
}

// Loom's structures may only be made inside a model, and these tests have one thread.
#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::connection::{Action, Mode, Policy};
    use crate::pool::Outcome;
    use crate::receiver::{ReceiverThreads, ReceiversConfig};

    /// One of each kind: it holds nothing, a buffer, a slot, a full slot while it waits for a buffer, or nothing while it
    /// waits, as there are two slots.
    fn some(receivers: &mut Receivers) -> [ReceiverId; 5] {
        [0, 200, 20, 64, 1].map(|bytes| {
            let id = receivers.attach(0, 0).expect("there is room");
            let is_readable = bytes > 0;
            if is_readable && receivers.handle(id, Event::Readable).expect("it is attached").has(Action::Recv) {
                receivers.handle(id, Event::Received { bytes }).expect("there is room");
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

    fn connection_of(level: u32, capacity: u32) -> Connection {
        let mut connection = Connection::default();
        connection.handle(Event::Attach { level, capacity }).expect("it is not attached");
        connection
    }

    fn connection_of_another_mode(like: &Connection) -> Connection {
        let (level, capacity) = (like.level(), like.capacity());
        let mut connection = Connection::new(Policy { mode: Mode::Edge, ..like.policy() });
        connection.handle(Event::Attach { level, capacity }).expect("it is not attached");
        connection
    }

    fn connection_in_flight() -> Connection {
        let mut connection = Connection::new(Policy { mode: Mode::Completion, ..Policy::default() });
        let attach = Event::Attach { level: 10, capacity: 256 };
        for event in [attach, Event::NeedMore { bytes: 5 }, Event::Readable, Event::done(Action::Recv)] {
            connection.handle(event).expect("it is to receive");
        }
        assert!(connection.is_in_flight());
        connection
    }

    #[test]
    fn a_buffer_of_the_hosts_own_is_used_by_another_thread_once_that_claims_it() {
        let threads = ReceiverThreads::new(&ReceiversConfig::new(2, 2), 2).expect("the configuration is allowed");
        let [mut from, mut to] = [0, 1].map(|index| threads.receivers(index).expect("nobody has them"));
        let Ok(Outcome::Granted(lease)) = from.request(0, 0) else { panic!("one is free") };
        assert!(to.release(lease).is_err(), "it is the other thread's");
        to.claim_lease(lease).expect("it is held");
        to.claim_lease(lease).expect("it is its own");
        to.release(lease).expect("it is its own");
        assert!(to.claim_lease(lease).is_err(), "it is stale");
        assert!(to.claim_lease(foreign_lease()).is_err());
        assert_eq!((to.check_invariants(), from.check_invariants()), (Ok(()), Ok(())));
    }

    #[test]
    fn whatever_was_changed_on_the_way_is_refused_and_can_be_tried_again_as_it_was() {
        let mut config = ReceiversConfig { buffer_bytes: 256, slots: 2, ..ReceiversConfig::new(1, 5) };
        config.policy.mode = Mode::OneShot;
        let threads = ReceiverThreads::new(&config, 2).expect("the configuration is allowed");
        let receivers = |index| threads.receivers(index).expect("nobody has them");
        let (mut from, mut to) = (receivers(0), receivers(1));
        for id in some(&mut from) {
            let mut moving = from.export(id).expect("it can move");
            let before = (moving.connection.clone(), moving.lease, moving.offset, moving.wait);
            // Each changes one field, so that it does not fit the others.
            let changes: [fn(&mut Moving); 11] = [
                |moving| moving.connection = connection_of_another_mode(&moving.connection),
                |moving| moving.lease = moving.lease.is_none().then(foreign_lease),
                |moving| moving.wait = moving.wait.is_none().then(foreign_wait),
                |moving| moving.lease = Some(foreign_lease()),
                |moving| moving.wait = Some(foreign_wait()),
                |moving| moving.offset = if moving.lease.is_some() { 57 } else { 0 },
                |moving| moving.connection = Connection::default(),
                |moving| moving.connection = connection_of(10, 100),
                |moving| moving.connection = connection_of(10, 64),
                |moving| moving.connection = connection_in_flight(),
                |moving| moving.connection = Connection::poisoned(),
            ];
            for (at, change) in changes.iter().enumerate() {
                change(&mut moving);
                let now = (moving.connection.clone(), moving.lease, moving.offset, moving.wait);
                if now != before {
                    let refused = to.import(&mut moving);
                    assert_eq!(refused, Err(ReceiverError::Stale), "change {at}: {moving:?}");
                }
                (moving.connection, moving.lease, moving.offset, moving.wait) = before.clone();
                from.check_invariants().expect("nothing is changed");
                to.check_invariants().expect("nothing is changed");
            }
            let id = to.import(&mut moving).expect("it is as it was");
            to.handle(id, Event::Close).expect("it is attached");
        }
        assert_eq!((to.stats().pool.leased, to.stats().pool.waiting, to.stats().slots_in_use), (0, 0, 0));
    }
}
