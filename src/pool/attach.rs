//! How a connection becomes a receiver: empty, with bytes that are copied, or with a leased buffer.

use super::table::Place;
use super::{BufferSource, LeasedContent, Pool, PoolError, ReceiverId};
use crate::connection::{Connection, Event};
use crate::memory::Reach;
use crate::memory::{SLOT_BYTES, SlotIndex};
use crate::scheduler::Request;

impl<S: BufferSource> Pool<S> {
    /// Attaches a connection with nothing buffered. `class` is that of its requests; `token` comes back with notices.
    ///
    /// # Errors
    ///
    /// The class does not exist; the table is full.
    pub fn attach(&mut self, class: u8, token: u64) -> Result<ReceiverId, PoolError> {
        self.source.check_open()?;
        let index = self.insert(class, token)?;
        self.handle_and_run(index, Event::Attach { buffered_bytes: 0, capacity: 0 })?;
        Ok(self.table.id(index))
    }

    /// Attaches a connection with bytes that are there already (a protocol upgrade): they are copied, into a slot if
    /// they fit and one is free, else into a buffer. Call [`pending`](Pool::pending) next: it returns `Decode`.
    ///
    /// # Errors
    ///
    /// As [`attach`](Pool::attach); the bytes do not fit into a buffer; neither slot nor buffer is free at once.
    /// Nothing is changed.
    pub fn attach_with(&mut self, class: u8, token: u64, bytes: &[u8]) -> Result<ReceiverId, PoolError> {
        if bytes.is_empty() {
            return self.attach(class, token);
        }
        let buffered_bytes = u32::try_from(bytes.len()).map_err(|_| PoolError::TooManyBytes)?;
        if buffered_bytes > self.memory.arena().buffer_bytes(0) {
            return Err(PoolError::TooManyBytes);
        }
        self.check_class(class)?;
        self.table.check_free()?;
        self.source.check_open()?;
        if bytes.len() <= SLOT_BYTES {
            if let Some(slot) = self.memory.slots_mut().take_smallest() {
                return self.attach_in_slot(class, token, slot, bytes);
            }
        }
        // The receiver's from the start: no thread can use the lease as one of the host's own in between.
        let request = Request { has_deadline: true, ..Request::new(class, token) };
        let lease = self.source.try_request(&request)?.ok_or(PoolError::NoBufferFree)?;
        self.touch(lease);
        self.memory.arena_mut().buffer_mut(lease.index())[..bytes.len()].copy_from_slice(bytes);
        self.attach_in_buffer(class, token, LeasedContent { lease, offset: 0, buffered_bytes })
    }

    /// Attaches a connection to a leased buffer and the content in it, without copying. The lease is the receiver's.
    ///
    /// # Errors
    ///
    /// The lease is stale or not the host's; the content does not lie inside the buffer; as
    /// [`attach`](Pool::attach). The lease stays the host's then.
    pub fn adopt(&mut self, class: u8, token: u64, content: LeasedContent) -> Result<ReceiverId, PoolError> {
        self.adopt_within(class, token, content, Reach::HERE)
    }

    /// As `adopt`, of a lease within reach.
    #[doc(hidden)]
    pub fn adopt_within(
        &mut self,
        class: u8,
        token: u64,
        content: LeasedContent,
        reach: Reach,
    ) -> Result<ReceiverId, PoolError> {
        self.check_host_lease(content.lease, reach)?;
        self.source.check_open()?;
        let end = content.offset.checked_add(content.buffered_bytes).ok_or(PoolError::TooManyBytes)?;
        if end > self.memory.arena().bytes_of(content.lease.index()) {
            return Err(PoolError::TooManyBytes);
        }
        self.check_class(class)?;
        self.table.check_free()?;
        // Last, since nothing undoes it: another thread may have ended or adopted the lease since it was checked.
        self.source.adopt_host_lease(content.lease, reach)?;
        self.attach_in_buffer(class, token, content)
    }

    /// The class exists, the table has room, and the lease is a receiver's and holds the content.
    fn attach_in_buffer(&mut self, class: u8, token: u64, content: LeasedContent) -> Result<ReceiverId, PoolError> {
        let buffer = content.lease.index();
        let capacity = self.memory.arena().bytes_of(buffer);
        let index = self.insert(class, token)?;
        self.table.set_place(index, Place::Buffer(buffer));
        self.table.set_start(buffer, content.offset);
        self.counts.received_bytes += u64::from(content.buffered_bytes);
        self.handle_and_run(index, Event::Attach { buffered_bytes: content.buffered_bytes, capacity })?;
        Ok(self.table.id(index))
    }

    fn insert(&mut self, class: u8, token: u64) -> Result<u32, PoolError> {
        self.check_class(class)?;
        self.table.insert(Connection::new(self.config.policy), class, token)
    }

    fn attach_in_slot(
        &mut self,
        class: u8,
        token: u64,
        slot: SlotIndex,
        bytes: &[u8],
    ) -> Result<ReceiverId, PoolError> {
        let memory = self.memory.slots_mut().slot_mut(slot);
        memory[..bytes.len()].copy_from_slice(bytes);
        let capacity = memory.len() as u32;
        let index = self.insert(class, token)?;
        self.table.set_place(index, Place::Slot(slot));
        self.counts.received_bytes += bytes.len() as u64;
        self.feed(index, Event::Attach { buffered_bytes: bytes.len() as u32, capacity });
        self.feed(index, Event::BufferParked { capacity });
        Ok(self.table.id(index))
    }
}
