//! How a connection becomes a receiver: empty, with bytes that are copied, or with a leased buffer; and what of that can be
//! changed later.

use super::ReceivingPool;
use super::pool::without_parking;
use super::transfer::Content;
use crate::connection::{Actions, Connection, Event, Policy};
use crate::memory::Reach;
use crate::pool::{AttachOptions, LeasedContent, Notice, PoolError, ReceiverId};
use crate::scheduler::{SchedulerError, TenantId};

impl ReceivingPool {
    /// Attaches a connection with nothing buffered. Its class is one of the pool's, and makes no difference but that
    /// [`describe`](ReceivingPool::describe) has it.
    ///
    /// # Errors
    ///
    /// The class does not exist; the tenant is stale or foreign; the table is full. Nothing is changed.
    pub fn attach(&mut self, options: &AttachOptions) -> Result<ReceiverId, PoolError> {
        let index = self.insert(options)?;
        Ok(self.begin_attached(index, 0))
    }

    /// Attaches a connection with bytes that are there already (a protocol upgrade): they are copied. `Decode` is pending
    /// then.
    ///
    /// # Errors
    ///
    /// As [`attach`](ReceivingPool::attach); the bytes do not fit into a buffer; there is no room for what a decoder may leave
    /// of them. Nothing is changed.
    pub fn attach_with(&mut self, options: &AttachOptions, bytes: &[u8]) -> Result<ReceiverId, PoolError> {
        if bytes.is_empty() {
            return self.attach(options);
        }
        let buffered_bytes = u32::try_from(bytes.len()).map_err(|_| PoolError::TooManyBytes)?;
        if buffered_bytes > self.memory.config().buffer_bytes {
            return Err(PoolError::TooManyBytes);
        }
        let index = self.insert(options)?;
        if !self.memory.receive_earlier(index, bytes) {
            self.memory.close(index).expect("it is attached");
            self.leave_tenant(index);
            self.table.remove(index);
            return Err(PoolError::NoBufferFree);
        }
        Ok(self.begin_attached(index, buffered_bytes))
    }

    /// Attaches a connection to a leased buffer and the content in it, without copying. The lease is the receiver's.
    ///
    /// # Errors
    ///
    /// The lease is stale or not the host's; the content does not lie inside the buffer; as
    /// [`attach`](ReceivingPool::attach). The lease stays the host's then.
    pub fn adopt(&mut self, options: &AttachOptions, content: LeasedContent) -> Result<ReceiverId, PoolError> {
        let LeasedContent { lease, offset, buffered_bytes } = content;
        self.check_host_lease(lease)?;
        let end = offset.checked_add(buffered_bytes).ok_or(PoolError::TooManyBytes)?;
        if end > self.memory.config().buffer_bytes {
            return Err(PoolError::TooManyBytes);
        }
        let index = self.insert(options)?;
        self.set_host_lease(lease, false);
        self.memory.buffers_mut().adopt_buffer();
        self.memory.adopt(index, Content { buffer: lease.index(), start: offset, bytes: buffered_bytes });
        Ok(self.begin_attached(index, buffered_bytes))
    }

    /// As `adopt`: no thread but this one has leases.
    #[doc(hidden)]
    pub fn adopt_within(
        &mut self,
        options: &AttachOptions,
        content: LeasedContent,
        _reach: Reach,
    ) -> Result<ReceiverId, PoolError> {
        self.adopt(options, content)
    }

    /// Its class from now on, for [`describe`](ReceivingPool::describe).
    ///
    /// # Errors
    ///
    /// The receiver is stale or foreign; the class does not exist. Nothing is changed.
    pub fn set_class(&mut self, id: ReceiverId, class: u8) -> Result<(), PoolError> {
        let index = self.table.find(id)?;
        self.check_class(class)?;
        self.table.set_class(index, class);
        Ok(())
    }

    /// Its tenant from now on, which holds what it keeps; `None` for the default tenant.
    ///
    /// # Errors
    ///
    /// The receiver or the tenant is stale or foreign. Nothing is changed.
    pub fn set_tenant(&mut self, id: ReceiverId, tenant: Option<TenantId>) -> Result<(), PoolError> {
        let index = self.table.find(id)?;
        let tenant = self.memory.buffers_mut().scheduler.pin_tenant(tenant, 0)?;
        self.leave_fast_path();
        self.move_to_tenant(index, tenant);
        Ok(())
    }

    /// A receiver belongs to a tenant that was pinned for it.
    fn move_to_tenant(&mut self, index: u32, tenant: u32) {
        let before = self.memory.set_tenant(index, tenant);
        self.memory.buffers_mut().scheduler.unpin_tenant(before);
    }

    /// A receiver has no tenant any more, so that one that was removed may go away.
    pub(super) fn leave_tenant(&mut self, index: u32) {
        self.move_to_tenant(index, 0);
    }

    /// Receives by this policy from now on ([`Connection::set_policy`]); returns what the host is to do now. What it has about
    /// parking makes no difference.
    ///
    /// # Errors
    ///
    /// The receiver is stale or foreign; it is closed; the mode changes while a receive is in flight. Nothing is changed.
    pub fn set_policy(&mut self, id: ReceiverId, policy: &Policy) -> Result<Actions, PoolError> {
        let index = self.table.find(id)?;
        self.leave_fast_path();
        self.follow_shed(index);
        self.table.connection_mut(index).set_policy(&without_parking(policy))?;
        self.follow_mode(index, policy);
        self.memory.set_reads_ahead(index, policy.reads_ahead).expect("it is attached");
        Ok(self.reconcile(index))
    }

    /// The notice that an attach which was refused because the table was full can be repeated; once.
    pub(super) fn poll_attachable(&mut self) -> Option<Notice> {
        let is_possible = self.is_attach_awaited && self.table.check_free().is_ok();
        self.is_attach_awaited &= !is_possible;
        is_possible.then_some(Notice::Attachable)
    }

    fn insert(&mut self, options: &AttachOptions) -> Result<u32, PoolError> {
        self.check_class(options.class)?;
        let room = self.table.check_free();
        self.is_attach_awaited |= options.notify_if_full && room.is_err();
        room?;
        let tenant = self.memory.buffers_mut().scheduler.pin_tenant(options.tenant, 0)?;
        self.leave_fast_path();
        let policy = options.policy.map_or(self.policy, |policy| without_parking(&policy));
        let connection = Connection::new(policy);
        let connection = if self.memory.wipes() { connection.on_slow_path() } else { connection };
        let index = self.table.insert(connection, options.class, options.token)?;
        self.scheduled.set(index, false);
        self.memory.attach(index, options.unknown_length).expect("the row is free");
        self.memory.set_tenant(index, tenant);
        self.follow_mode(index, &policy);
        self.memory.set_reads_ahead(index, policy.reads_ahead).expect("it is attached");
        Ok(index)
    }

    fn begin_attached(&mut self, index: u32, buffered_bytes: u32) -> ReceiverId {
        self.counts.received_bytes += u64::from(buffered_bytes);
        self.feed(index, Event::Attach { buffered_bytes, capacity: buffered_bytes });
        self.reconcile(index);
        self.table.id(index)
    }

    fn check_class(&self, class: u8) -> Result<(), PoolError> {
        let classes = self.memory.buffers().classes();
        if class < classes { Ok(()) } else { Err(SchedulerError::UnknownClass { class, classes }.into()) }
    }
}
