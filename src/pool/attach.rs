//! How a connection becomes a receiver: empty, with bytes that are copied, or with a leased buffer; and what of that can be
//! changed later.

use super::config::policy_limits;
use super::table::Place;
use super::{BufferSource, LeasedContent, Notice, Pool, PoolError, ReceiverId};
use crate::connection::{Actions, Connection, Event, Policy};
use crate::memory::Reach;
use crate::memory::{SLOT_BYTES, SlotIndex};
use crate::scheduler::{Request, TenantId};

/// What a connection is attached with. All of it but the token can be changed later: [`Pool::set_class`],
/// [`Pool::set_tenant`], [`Pool::set_policy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Class of its requests; 0 is the most critical.
    pub class: u8,
    /// Yours; comes back in notices.
    pub token: u64,
    /// The tenant that it requests for; `None` for the default tenant.
    pub tenant: Option<TenantId>,
    /// How it receives and parks; `None` for the policy of the pool.
    pub policy: Option<Policy>,
    /// If the table of receivers is full, a notice follows once it is not any more: [`Notice::Attachable`].
    pub notify_if_full: bool,
    /// Its decoder reports only that it needs more, not how much. For a pool on the memory model, which gives room by it.
    pub unknown_length: bool,
}

impl AttachOptions {
    /// A receiver of the default tenant, with the policy of the pool.
    pub const fn new(class: u8, token: u64) -> AttachOptions {
        AttachOptions { class, token, tenant: None, policy: None, notify_if_full: false, unknown_length: false }
    }
}

impl<S: BufferSource> Pool<S> {
    /// Attaches a connection with nothing buffered.
    ///
    /// # Errors
    ///
    /// The class or the tenant does not exist; the cap of the tenant is below a receiver's first buffer; a field of the
    /// policy is out of range; the table is full; the shared pool is closed. Nothing is changed.
    pub fn attach(&mut self, options: &AttachOptions) -> Result<ReceiverId, PoolError> {
        self.check_attach(options)?;
        let tenant = self.pin_tenant(options)?;
        let index = self.insert(options, tenant)?;
        self.handle_and_run(index, Event::Attach { buffered_bytes: 0, capacity: 0 })?;
        Ok(self.table.id(index))
    }

    /// Attaches a connection with bytes that are there already (a protocol upgrade): they are copied, into a slot if
    /// they fit and one is free, else into a buffer. Call [`pending`](Pool::pending) next: it returns `Decode`.
    ///
    /// Where no buffer is free you can attach without the bytes, and give them to the first `Recv` as if they had been received:
    /// then the request for the buffer queues.
    ///
    /// # Errors
    ///
    /// As [`attach`](Pool::attach); the bytes do not fit into a buffer; neither slot nor buffer is free at once.
    /// Nothing is changed.
    pub fn attach_with(&mut self, options: &AttachOptions, bytes: &[u8]) -> Result<ReceiverId, PoolError> {
        if bytes.is_empty() {
            return self.attach(options);
        }
        let buffered_bytes = u32::try_from(bytes.len()).map_err(|_| PoolError::TooManyBytes)?;
        if buffered_bytes > self.memory.arena().buffer_bytes(0) {
            return Err(PoolError::TooManyBytes);
        }
        self.check_attach(options)?;
        let tenant = self.pin_tenant(options)?;
        if bytes.len() <= SLOT_BYTES {
            if let Some(slot) = self.memory.slots_mut().take_smallest() {
                return self.attach_in_slot(options, tenant, slot, bytes);
            }
        }
        // The receiver's from the start: no thread can use the lease as one of the host's own in between.
        let own = Request::new(options.class, options.token);
        let request = Request { has_deadline: true, tenant: options.tenant, ..own };
        let granted = self.source.try_request(&request).and_then(|lease| lease.ok_or(PoolError::NoBufferFree));
        let lease = granted.inspect_err(|_| self.source.unpin_tenant(tenant))?;
        self.touch(lease);
        self.memory.arena_mut().buffer_mut(lease.index())[..bytes.len()].copy_from_slice(bytes);
        self.attach_in_buffer(options, tenant, LeasedContent { lease, offset: 0, buffered_bytes })
    }

    /// Attaches a connection to a leased buffer and the content in it, without copying. The lease is the receiver's, and counts
    /// for the tenant that it was requested for until its end.
    ///
    /// # Errors
    ///
    /// The lease is stale or not the host's; the content does not lie inside the buffer; as
    /// [`attach`](Pool::attach). The lease stays the host's then.
    pub fn adopt(&mut self, options: &AttachOptions, content: LeasedContent) -> Result<ReceiverId, PoolError> {
        self.adopt_within(options, content, Reach::HERE)
    }

    /// As `adopt`, of a lease within reach.
    #[doc(hidden)]
    pub fn adopt_within(
        &mut self,
        options: &AttachOptions,
        content: LeasedContent,
        reach: Reach,
    ) -> Result<ReceiverId, PoolError> {
        self.check_host_lease(content.lease, reach)?;
        let end = content.offset.checked_add(content.buffered_bytes).ok_or(PoolError::TooManyBytes)?;
        if end > self.memory.arena().bytes_of(content.lease.index()) {
            return Err(PoolError::TooManyBytes);
        }
        self.check_attach(options)?;
        let tenant = self.pin_tenant(options)?;
        // Last, since nothing undoes it: another thread may have ended or adopted the lease since it was checked.
        let adopted = self.source.adopt_host_lease(content.lease, reach);
        adopted.inspect_err(|_| self.source.unpin_tenant(tenant))?;
        self.attach_in_buffer(options, tenant, content)
    }

    /// Requests in this class from now on. A request of the receiver that is queued goes to the end of its new class; what is
    /// held stays.
    ///
    /// # Errors
    ///
    /// The receiver is stale or foreign; the class does not exist. Nothing is changed.
    pub fn set_class(&mut self, id: ReceiverId, class: u8) -> Result<(), PoolError> {
        let index = self.table.find(id)?;
        self.check_class(class)?;
        self.table.set_class(index, class);
        if let Some(wait) = self.table.wait(index) {
            self.source.reclass_at(wait, self.request_class(index));
        }
        Ok(())
    }

    /// Receives and parks by this policy from now on ([`Connection::set_policy`]); returns what the host is to do now.
    ///
    /// # Errors
    ///
    /// The receiver is stale or foreign; a field is out of range; it is closed; the mode changes while a receive is in flight.
    /// Nothing is changed.
    pub fn set_policy(&mut self, id: ReceiverId, policy: &Policy) -> Result<Actions, PoolError> {
        let index = self.table.find(id)?;
        check_policy(policy)?;
        let actions = self.table.connection_mut(index).set_policy(policy)?;
        Ok(self.run_own_actions(index, actions))
    }

    /// The notice that an attach which was refused because the table was full can be repeated; once.
    pub(super) fn poll_attachable(&mut self) -> Option<Notice> {
        let is_possible = self.is_attach_awaited && self.table.check_free().is_ok();
        self.is_attach_awaited &= !is_possible;
        is_possible.then_some(Notice::Attachable)
    }

    /// All that can be refused without a look at what is attached.
    fn check_attach(&mut self, options: &AttachOptions) -> Result<(), PoolError> {
        self.source.check_open()?;
        if let Some(policy) = &options.policy {
            check_policy(policy)?;
        }
        self.check_class(options.class)?;
        let room = self.table.check_free();
        self.is_attach_awaited |= options.notify_if_full && room.is_err();
        room
    }

    fn pin_tenant(&mut self, options: &AttachOptions) -> Result<u32, PoolError> {
        self.source.pin_tenant(options.tenant, self.config.first_size_index)
    }

    /// The options are checked, and the lease is a receiver's and holds the content.
    fn attach_in_buffer(
        &mut self,
        options: &AttachOptions,
        tenant: u32,
        content: LeasedContent,
    ) -> Result<ReceiverId, PoolError> {
        let buffer = content.lease.index();
        let capacity = self.memory.arena().bytes_of(buffer);
        let index = self.insert(options, tenant)?;
        self.table.set_place(index, Place::Buffer(buffer));
        self.table.set_start(buffer, content.offset);
        self.counts.received_bytes += u64::from(content.buffered_bytes);
        self.handle_and_run(index, Event::Attach { buffered_bytes: content.buffered_bytes, capacity })?;
        Ok(self.table.id(index))
    }

    fn insert(&mut self, options: &AttachOptions, tenant: u32) -> Result<u32, PoolError> {
        let connection = Connection::new(options.policy.unwrap_or(self.config.policy));
        let connection = if self.memory.wipes() { connection.on_slow_path() } else { connection };
        let index = self.table.insert(connection, options.class, options.token)?;
        self.table.set_tenant(index, tenant);
        Ok(index)
    }

    fn attach_in_slot(
        &mut self,
        options: &AttachOptions,
        tenant: u32,
        slot: SlotIndex,
        bytes: &[u8],
    ) -> Result<ReceiverId, PoolError> {
        let memory = self.memory.slots_mut().slot_mut(slot);
        memory[..bytes.len()].copy_from_slice(bytes);
        let capacity = memory.len() as u32;
        let index = self.insert(options, tenant)?;
        self.table.set_place(index, Place::Slot(slot));
        self.counts.received_bytes += bytes.len() as u64;
        self.feed(index, Event::Attach { buffered_bytes: bytes.len() as u32, capacity });
        self.feed(index, Event::BufferParked { capacity });
        Ok(self.table.id(index))
    }
}

/// Refuses a policy whose bytes fit into no parking slot.
fn check_policy(policy: &Policy) -> Result<(), PoolError> {
    let broken = policy_limits(policy).into_iter().find(|&(_, value, max)| value > max);
    broken.map_or(Ok(()), |(field, value, max)| Err(PoolError::Policy { field, value, max }))
}
