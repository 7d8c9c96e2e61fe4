//! Receivers that move from the pool of one thread to that of another.

use super::exports::Ticket;
use super::pool_shard::PoolShard;
use crate::connection::{Action, Connection, Event, EventError, Hold};
use crate::pool::{AttachOptions, Pool, PoolError, ReceiverId, check_counting};
use crate::receiving::{Content, HEADER_BYTES, Moved};
use crate::scheduler::LeaseId;

/// What a receiver keeps without a buffer while it is exported, at most.
const KEPT_MAX: usize = HEADER_BYTES as usize;

/// A receiver between its export and its import, with what it keeps. It belongs to no pool: if you drop it, its buffer
/// leaks until the shared pool is freed. To discard one, import it and close it.
#[derive(Debug)]
#[must_use = "its buffer is lost with it"]
pub struct ExportedReceiver {
    #[doc(hidden)]
    pub connection: Connection,
    #[doc(hidden)]
    pub token: u64,
    #[doc(hidden)]
    pub class: u8,
    /// The buffer of more than 64 kept bytes.
    #[doc(hidden)]
    pub lease: Option<LeaseId>,
    /// Where the content starts in the buffer, in bytes.
    #[doc(hidden)]
    pub offset: u32,
    /// Up to 64 kept bytes.
    #[doc(hidden)]
    pub kept: [u8; KEPT_MAX],
    #[doc(hidden)]
    pub moved: Moved,
    #[doc(hidden)]
    pub ticket: Ticket,
}

/// What is imported by a step, as it is in the value of the host.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    pub connection: &'a Connection,
    pub token: u64,
    pub class: u8,
    pub lease: Option<LeaseId>,
    pub offset: u32,
    pub moved: Moved,
    pub ticket: Ticket,
}

impl Arriving<'_> {
    /// The value that it is in, with what is kept without a buffer.
    #[doc(hidden)]
    pub fn with_kept(self, kept: [u8; KEPT_MAX]) -> ExportedReceiver {
        let Arriving { connection, token, class, lease, offset, moved, ticket } = self;
        ExportedReceiver { connection: connection.clone(), token, class, lease, offset, kept, moved, ticket }
    }

    /// Without a lease: whether it keeps and waits for nothing, and does not count, which is all that
    /// `Pool::check_exported` asks for.
    #[inline(always)]
    fn is_at_rest(self) -> bool {
        let waits_for_nothing = self.moved.mark_bytes == 0 && self.connection.capacity() == 0;
        let is_idle = self.connection.pending_if_idle().is_some() && waits_for_nothing;
        is_idle && self.connection.has_known_mode() && !self.connection.is_counting()
    }

    /// With a lease: what is in it, if the receiver is to decode that, and this is all that `Pool::check_exported` asks
    /// for.
    #[inline(always)]
    fn content_to_decode(self, lease: LeaseId, buffer_bytes: u32) -> Option<Content> {
        let (bytes, capacity) = (self.connection.buffered_bytes(), self.connection.capacity());
        let is_inside = self.offset.checked_add(bytes).is_some_and(|end| end <= capacity);
        let is_held = is_inside && capacity == buffer_bytes && bytes > KEPT_MAX as u32 && self.moved.mark_bytes == 0;
        let decodes = is_held && self.connection.pending_if_decoding().is_some();
        decodes.then(|| Content { buffer: lease.index(), start: self.offset, bytes })
    }

    #[inline(always)]
    fn options(self) -> AttachOptions {
        let unknown_length = self.moved.unknown_length;
        AttachOptions { unknown_length, ..AttachOptions::new(self.class, self.token) }
    }
}

impl ExportedReceiver {
    fn arriving(&self) -> Arriving<'_> {
        let ExportedReceiver { ref connection, token, class, lease, offset, moved, ticket, .. } = *self;
        Arriving { connection, token, class, lease, offset, moved, ticket }
    }

    /// It is imported.
    fn clear(&mut self) {
        self.connection = Connection::default();
        (self.lease, self.ticket) = (None, Ticket::default());
    }
}

impl Pool<PoolShard> {
    /// Takes a receiver off this thread, in whatever state: idle, waiting, keeping bytes, decoding. Its handle ends;
    /// [`import`](Pool::import) gives it another one. If it waits for memory, it waits again after the import, and the
    /// time of its frame goes on from where it was. Cost: O(1), a copy of what it keeps, and the lock of the exports.
    ///
    /// # Errors
    ///
    /// Nothing is changed if
    ///
    /// - the handle is stale or foreign, or the receiver is closed;
    /// - a receive is in flight, or it has bytes in place;
    /// - it is to be shed;
    /// - it keeps more than 64 bytes in a cell, and no buffer is free to move them in, or its tenant may have none;
    /// - the table of exports is full: `receivers_max` for each thread of all.
    pub fn export(&mut self, id: ReceiverId) -> Result<ExportedReceiver, PoolError> {
        self.export_to(id, |exported| exported)
    }

    /// As `export`, for a host that has a place for the value: `pass` puts it there.
    ///
    /// # Errors
    ///
    /// As `export`.
    #[doc(hidden)]
    #[inline(always)]
    pub fn export_to<R>(&mut self, id: ReceiverId, pass: impl FnOnce(ExportedReceiver) -> R) -> Result<R, PoolError> {
        let index = self.table.find(id)?;
        if self.is_at_rest(index) {
            return self.export_at_rest(index, pass);
        }
        if self.undecoded_bytes(id) > KEPT_MAX as u32 {
            return self.export_received(index, pass);
        }
        self.export_slowly(index).map(pass)
    }

    /// Of a receiver that keeps and waits for nothing: its row goes, and no memory.
    #[inline(always)]
    fn export_at_rest<R>(&mut self, index: u32, pass: impl FnOnce(ExportedReceiver) -> R) -> Result<R, PoolError> {
        let exports = &self.memory.buffers().common.exports;
        let mut tickets = exports.lock();
        tickets.check_room()?;
        let ticket = exports.open(&mut tickets, self.memory.tenant(index));
        drop(tickets);
        let connection = self.table.connection(index).clone();
        Ok(self.export_row(index, (connection, None, ticket), pass))
    }

    /// Of a receiver that is to decode what it received in the common cycle that is open: it goes with the receive
    /// buffer.
    #[inline(never)]
    fn export_received<R>(&mut self, index: u32, pass: impl FnOnce(ExportedReceiver) -> R) -> Result<R, PoolError> {
        let common = self.memory.buffers().common.clone();
        let mut tickets = common.exports.lock();
        tickets.check_room()?;
        let Some((connection, buffer)) = self.leave_with_receive_buffer(index) else {
            drop(tickets);
            return self.export_slowly(index).map(pass);
        };
        let ticket = common.exports.open(&mut tickets, self.memory.tenant(index));
        drop(tickets);
        let lease = self.memory.buffers_mut().export_buffer(buffer);
        Ok(self.export_row(index, (connection, Some(lease), ticket), pass))
    }

    /// A row goes, with this. The content of the lease was received just now, and is at the front.
    #[inline(always)]
    fn export_row<R>(
        &mut self,
        index: u32,
        (connection, lease, ticket): (Connection, Option<LeaseId>, Ticket),
        pass: impl FnOnce(ExportedReceiver) -> R,
    ) -> R {
        let (token, class) = (self.table.token(index), self.table.class(index));
        let moved = Moved { age_ns: lease.map(|_| 0), ..self.memory.moved(index) };
        let (offset, kept) = (0, [0; KEPT_MAX]);
        let passed = pass(ExportedReceiver { connection, token, class, lease, offset, kept, moved, ticket });
        let tenant = self.memory.set_tenant(index, 0);
        self.memory.buffers_mut().export_tenant(tenant);
        self.remove(index);
        passed
    }

    #[inline(never)]
    fn export_slowly(&mut self, index: u32) -> Result<ExportedReceiver, PoolError> {
        self.settle_for_export(index)?;
        let common = self.memory.buffers().common.clone();
        let mut tickets = common.exports.lock();
        tickets.check_room()?;
        let moved = self.memory.moved(index);
        let (mut kept, mut lease, mut offset) = ([0; KEPT_MAX], None, 0);
        let content = self.memory.content(index).expect("it is attached");
        if content.len() > KEPT_MAX {
            let Content { buffer, start, .. } = self.memory.take_to_move(index).ok_or(PoolError::NoBufferFree)?;
            (lease, offset) = (Some(self.memory.buffers_mut().export_buffer(buffer)), start);
        } else {
            kept[..content.len()].copy_from_slice(content);
        }
        let tenant = self.memory.set_tenant(index, 0);
        self.memory.buffers_mut().export_tenant(tenant);
        let exported = ExportedReceiver {
            connection: self.connection_to_export(index),
            token: self.table.token(index),
            class: self.table.class(index),
            lease,
            offset,
            kept,
            moved,
            ticket: common.exports.open(&mut tickets, tenant),
        };
        self.counts.taken_bytes += u64::from(exported.connection.buffered_bytes());
        self.remove(index);
        Ok(exported)
    }

    /// Refuses a receiver that cannot move.
    fn settle_for_export(&mut self, index: u32) -> Result<(), PoolError> {
        self.leave_fast_path();
        self.follow_shed(index);
        let connection = self.table.connection(index);
        if !connection.is_open() {
            return Err(EventError::Closed.into());
        }
        if connection.is_in_flight() {
            return Err(EventError::InFlight.into());
        }
        self.check_not_in_place(index)?;
        self.check_no_look(index)?;
        if self.memory.is_shed(index) { Err(PoolError::NotMovable) } else { Ok(()) }
    }

    /// The machine as it goes: with its content in a buffer, or without either; it waits for nothing.
    fn connection_to_export(&self, index: u32) -> Connection {
        let mut connection = self.table.connection(index).clone();
        let capacity = self.memory.config().buffer_bytes;
        let is_whole = connection.hold() == Hold::Buffer && connection.capacity() == capacity;
        if connection.is_waiting() || (connection.hold() != Hold::None && !is_whole) {
            connection.apply_event(Event::BufferGranted { capacity }).expect("it waits for one or has one");
        }
        if connection.buffered_bytes() == 0 && connection.hold() != Hold::None {
            connection.apply_event(Event::BufferReleased).expect("it has one");
        }
        connection
    }

    /// Imports a receiver that a thread exported; `exported` is empty then. Call [`pending`](Pool::pending) next.
    ///
    /// # Errors
    ///
    /// Nothing is changed, and you can try again on any thread, if
    ///
    /// - `exported` is empty, of another pool, imported already by way of a copy, or was changed;
    /// - its class does not exist, or the table of receivers is full;
    /// - it keeps bytes, and there is no buffer to decode them in now.
    pub fn import(&mut self, exported: &mut ExportedReceiver) -> Result<ReceiverId, PoolError> {
        match self.try_import(exported.arriving()) {
            Some(imported) => {
                let id = imported?;
                exported.clear();
                Ok(id)
            }
            None => self.import_slowly(exported),
        }
    }

    /// As `import`, by a step. `None`, and nothing is changed, for a receiver that has none, or for which there is no
    /// row. What is imported is to be cleared.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_import(&mut self, arriving: Arriving<'_>) -> Option<Result<ReceiverId, PoolError>> {
        if self.check_class(arriving.class).is_err() || self.table.check_free().is_err() || self.memory.wipes() {
            return None;
        }
        match arriving.lease {
            None if arriving.is_at_rest() => Some(self.import_at_rest(arriving)),
            Some(lease) if self.may_come_to_decode() => {
                let content = arriving.content_to_decode(lease, self.memory.config().buffer_bytes)?;
                Some(self.import_to_decode(arriving, lease, content))
            }
            _ => None,
        }
    }

    /// Of a receiver that keeps and waits for nothing: it is as one that is attached.
    #[inline(always)]
    fn import_at_rest(&mut self, arriving: Arriving<'_>) -> Result<ReceiverId, PoolError> {
        let exports = &self.memory.buffers().common.exports;
        let mut tickets = exports.lock();
        exports.check(&tickets, arriving.ticket)?;
        let tenant = tickets.tenant(arriving.ticket);
        tickets.close(arriving.ticket);
        drop(tickets);
        let index = self.import_row(arriving, tenant);
        self.memory.set_moved(index, arriving.moved);
        self.memory.buffers_mut().import_tenant(tenant, false);
        Ok(self.table.id(index))
    }

    /// Of a receiver that is to decode what is in this lease.
    #[inline(never)]
    fn import_to_decode(
        &mut self,
        arriving: Arriving<'_>,
        lease: LeaseId,
        content: Content,
    ) -> Result<ReceiverId, PoolError> {
        let buffers = self.memory.buffers();
        let exports = &buffers.common.exports;
        let mut tickets = exports.lock();
        exports.check(&tickets, arriving.ticket)?;
        buffers.import_lease(lease)?;
        let tenant = tickets.tenant(arriving.ticket);
        tickets.close(arriving.ticket);
        drop(tickets);
        let index = self.import_row(arriving, tenant);
        self.come_to_decode(index, content);
        self.memory.set_moved(index, arriving.moved);
        let buffers = self.memory.buffers_mut();
        buffers.count_imported();
        buffers.import_tenant(tenant, true);
        Ok(self.table.id(index))
    }

    #[inline(always)]
    fn import_row(&mut self, arriving: Arriving<'_>, tenant: u32) -> u32 {
        let connection = arriving.connection.clone();
        self.insert_row(connection, &arriving.options(), tenant).expect("there is a row")
    }

    #[inline(never)]
    fn import_slowly(&mut self, exported: &mut ExportedReceiver) -> Result<ReceiverId, PoolError> {
        let common = self.memory.buffers().common.clone();
        let mut tickets = common.exports.lock();
        common.exports.check(&tickets, exported.ticket)?;
        self.check_class(exported.class)?;
        self.table.check_free()?;
        self.check_exported(exported)?;
        self.leave_fast_path();
        let bytes = exported.connection.buffered_bytes();
        if let Some(lease) = exported.lease {
            self.memory.buffers().import_lease(lease)?;
            self.memory.buffers_mut().count_imported();
        }
        let tenant = tickets.tenant(exported.ticket);
        let index = self.insert_connection(exported.connection.clone(), &exported.arriving().options(), tenant)?;
        match exported.lease {
            Some(lease) => self.memory.adopt(index, Content { buffer: lease.index(), start: exported.offset, bytes }),
            None if bytes > 0 && !self.memory.receive_earlier(index, &exported.kept[..bytes as usize]) => {
                // The tenant stays with what is exported.
                self.memory.set_tenant(index, 0);
                self.remove(index);
                return Err(PoolError::NoBufferFree);
            }
            None => {}
        }
        self.memory.set_moved(index, exported.moved);
        self.counts.received_bytes += u64::from(bytes);
        self.memory.buffers_mut().import_tenant(tenant, exported.lease.is_some());
        tickets.close(exported.ticket);
        if bytes == 0 {
            self.wait_on(index, exported.moved);
        }
        exported.clear();
        self.reconcile(index);
        Ok(self.table.id(index))
    }

    /// A receiver that waited with nothing kept, for room or under its mark, goes on waiting: that wait has one age on
    /// all threads.
    fn wait_on(&mut self, index: u32, moved: Moved) {
        if moved.mark_bytes > 0 {
            return self.memory.wait_on_under_mark(index, moved);
        }
        let wants_to_receive = self.table.connection(index).pending().has(Action::RequestBuffer);
        if wants_to_receive && self.memory.wait_on(index, moved) {
            self.feed(index, Event::BufferDenied);
        }
    }

    /// A C host can change the value, so each field is checked.
    fn check_exported(&self, exported: &ExportedReceiver) -> Result<(), PoolError> {
        let ExportedReceiver { connection, lease, offset, .. } = exported;
        let (buffered_bytes, capacity) = (connection.buffered_bytes(), connection.capacity());
        let is_held = match connection.hold() {
            Hold::None => lease.is_none() && buffered_bytes == 0 && capacity == 0,
            Hold::Slot => false,
            Hold::Buffer => {
                let inside = offset.checked_add(buffered_bytes).is_some_and(|end| end <= capacity);
                let is_small = buffered_bytes > 0 && buffered_bytes as usize <= KEPT_MAX;
                inside && capacity == self.memory.config().buffer_bytes && lease.is_none() == is_small
            }
        };
        // A poisoned one refuses every event.
        let answers = connection.clone().handle(Event::Wake).is_ok();
        let counts = check_counting(&connection.policy(), exported.moved.unknown_length).is_ok();
        let may_have_mark = connection.is_counting() && !connection.has_peer_closed() && buffered_bytes == 0;
        let mark_max = if may_have_mark { self.memory.config().buffer_bytes } else { 0 };
        let has_known_mark = exported.moved.mark_bytes <= mark_max;
        let is_sound = counts
            && answers
            && has_known_mark
            && connection.is_open()
            && !connection.is_in_flight()
            && connection.has_known_mode();
        if is_held && is_sound && !connection.is_waiting() { Ok(()) } else { Err(PoolError::Stale) }
    }
}

// Loom's structures may only be made inside a model, and these tests have one thread.
#[cfg(test)]
#[cfg(not(loom))]
mod equality;

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::connection::{Mode, Policy};
    use crate::pool::{AttachOptions, PoolConfig};
    use crate::scheduler::{Outcome, SchedulerError};
    use crate::shared::SharedPool;

    /// One of each kind: it keeps nothing, more than a small cell has, or as much as one has, and that is borrowed or
    /// not.
    fn some(pool: &mut Pool<PoolShard>) -> [ReceiverId; 5] {
        [0, 200, 20, 64, 65].map(|bytes| {
            let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
            if bytes > 0 && pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv) {
                pool.handle(id, Event::Received { bytes }).expect("there is room");
            }
            if bytes % 2 == 0 && bytes > 0 {
                pool.decoded(id, 0, 30).expect("it is attached");
            }
            id
        })
    }

    fn config(mode: Mode) -> PoolConfig {
        let policy = Policy { mode, ..Policy::default() };
        PoolConfig { buffer_bytes: 256, policy, ..PoolConfig::new(24 * 256, 8) }
    }

    fn foreign_lease() -> LeaseId {
        LeaseId::from_bits(1 << 40 | 1)
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

    /// A policy that no receiver can have.
    fn counting_under_a_layer() -> Connection {
        let mut connection = Connection::new(Policy { counting: true, reads_ahead: true, ..Policy::default() });
        connection.handle(Event::Attach { buffered_bytes: 0, capacity: 0 }).expect("it is not attached");
        connection
    }

    /// A lease of the host's own that outlived its thread's pool is not that of an exported receiver.
    #[test]
    fn s82_lease_that_was_left_is_not_imported() {
        let shared_pool = SharedPool::new(&config(Mode::Level), 2).expect("the configuration is allowed");
        let [mut from, mut to] = [0, 1].map(|index| shared_pool.shard(index).expect("it is free"));
        let Ok(Outcome::Granted(lease)) = from.request(0, 0) else { panic!("one is free") };
        drop(from);
        let [_, id, ..] = some(&mut to);
        let mut exported = to.export(id).expect("it keeps something");
        let own = exported.lease.replace(lease);
        assert_eq!(to.import(&mut exported), Err(SchedulerError::StaleLease.into()));
        exported.lease = own;
        to.import(&mut exported).expect("it is as it was");
        to.release(lease).expect("it is the host's");
        assert_eq!(to.check_invariants(), Ok(()));
    }

    #[test]
    fn import_refuses_changes_and_takes_the_original() {
        let shared_pool = SharedPool::new(&config(Mode::OneShot), 2).expect("the configuration is allowed");
        let pool = |index| shared_pool.shard(index).expect("it is free");
        let (mut from, mut to) = (pool(0), pool(1));
        let leased = shared_pool.stats().scheduler.leased;
        for id in some(&mut from) {
            let mut exported = from.export(id).expect("it can move");
            let before =
                (exported.connection.clone(), exported.lease, exported.offset, exported.ticket, exported.moved);
            // Each changes one field, so that it does not fit the others.
            let changes: [fn(&mut ExportedReceiver); 13] = [
                |exported| exported.lease = exported.lease.is_none().then(foreign_lease),
                |exported| exported.lease = Some(foreign_lease()),
                |exported| exported.offset = if exported.lease.is_some() { 257 } else { exported.offset },
                |exported| exported.connection = Connection::default(),
                |exported| exported.connection = connection_of(10, 100),
                |exported| exported.connection = connection_of(10, 64),
                |exported| exported.connection = connection_in_flight(),
                |exported| exported.connection = counting_under_a_layer(),
                |exported| exported.connection = Connection::poisoned(),
                |exported| exported.ticket.pool += 1,
                |exported| exported.ticket.entry += 1,
                |exported| exported.ticket.uses += 1,
                |exported| exported.moved.mark_bytes += 1,
            ];
            for (at, change) in changes.iter().enumerate() {
                change(&mut exported);
                let ExportedReceiver { ref connection, lease, offset, ticket, moved, .. } = exported;
                let now = (connection.clone(), lease, offset, ticket, moved);
                if now != before {
                    let refused = to.import(&mut exported);
                    let is_stale =
                        matches!(refused, Err(PoolError::Stale | PoolError::Scheduler(SchedulerError::StaleLease)));
                    assert!(is_stale, "change {at} is refused as {refused:?}: {exported:?}");
                }
                (exported.connection, exported.lease, exported.offset, exported.ticket, exported.moved) =
                    before.clone();
                from.check_invariants().expect("nothing is changed");
                to.check_invariants().expect("nothing is changed");
            }
            let id = to.import(&mut exported).expect("it is as it was");
            to.handle(id, Event::Close).expect("it is attached");
        }
        assert_eq!((from.poll_notice(), to.poll_notice()), (None, None));
        assert!(shared_pool.stats().scheduler.leased <= leased, "nothing is left of them");
    }

    #[test]
    fn import_refuses_a_mark_that_nothing_waits_under() {
        let shared_pool = SharedPool::new(&config(Mode::Level), 1).expect("the configuration is allowed");
        let mut pool = shared_pool.shard(0).expect("it is free");
        let policy = Some(Policy { counting: true, ..Policy::default() });
        let cases: [(&[u8], _, _, _); 4] =
            [(&[], false, 257, false), (&[], true, 1, false), (&[7; 9], false, 1, false), (&[], false, 256, true)];
        for (kept, peer_closed, mark_bytes, is_allowed) in cases {
            let options = AttachOptions { policy, ..AttachOptions::new(0, 0) };
            let id = pool.attach_with(&options, kept).expect("there is a row");
            if peer_closed {
                pool.handle(id, Event::PeerClosed).expect("it is attached");
            }
            let mut exported = pool.export(id).expect("it can move");
            exported.moved.mark_bytes = mark_bytes;
            let imported = pool.import(&mut exported);
            assert_eq!(imported.is_ok(), is_allowed, "{mark_bytes} bytes, closed: {peer_closed}, {imported:?}");
            exported.moved.mark_bytes = 0;
            let id = imported.or_else(|_| pool.import(&mut exported)).expect("it is as it was");
            assert_eq!(pool.check_invariants(), Ok(()));
            pool.handle(id, Event::Close).expect("it is attached");
        }
    }
}
