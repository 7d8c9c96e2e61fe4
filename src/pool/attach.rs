//! How a connection becomes a receiver: empty, with bytes that are copied, or with a leased buffer; and what of that
//! can be changed later.

use super::counting::check_counting;
use super::{Awaited, BufferSource, LeasedContent, Pool, PoolError, ReceiverId, without_parking};
use crate::connection::{Actions, Connection, Event, Mode, Policy};
use crate::memory::Reach;
use crate::receiving::Content;
use crate::scheduler::{SchedulerError, TenantId};

/// What a connection is attached with. Class, tenant and policy can be changed later: [`Pool::set_class`],
/// [`Pool::set_tenant`], [`Pool::set_policy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// One of the pool's classes, for [`Pool::describe`] alone: receivers use memory in the last.
    pub class: u8,
    /// Yours; comes back in notices.
    pub token: u64,
    /// The tenant that holds what it keeps; `None` for the default tenant.
    pub tenant: Option<TenantId>,
    /// How it receives; `None` for the policy of the pool.
    pub policy: Option<Policy>,
    /// If the table of receivers is full, a notice follows once it is not any more:
    /// [`Attachable`](super::Notice::Attachable).
    pub notify_if_full: bool,
    /// Its decoder reports only that it needs more, not how much: it is given all the room there is.
    pub unknown_length: bool,
}

impl AttachOptions {
    /// A receiver of the default tenant, with the policy of the pool.
    pub const fn new(class: u8, token: u64) -> AttachOptions {
        AttachOptions { class, token, tenant: None, policy: None, notify_if_full: false, unknown_length: false }
    }
}

impl<S: BufferSource> Pool<S> {
    /// Attaches a connection with nothing buffered. Its class is one of the pool's, and makes no difference but that
    /// [`describe`](Pool::describe) has it.
    ///
    /// # Errors
    ///
    /// The class does not exist; the receiver cannot count; the tenant is stale or foreign; the table is full. Nothing
    /// is changed.
    pub fn attach(&mut self, options: &AttachOptions) -> Result<ReceiverId, PoolError> {
        let index = self.insert(options)?;
        let connection = self.table.connection_mut(index);
        connection.apply_asked(Event::Attach { buffered_bytes: 0, capacity: 0 });
        if connection.pending_if_idle().is_none() {
            self.leave_fast_path();
            self.reconcile(index);
        }
        Ok(self.table.id(index))
    }

    /// Attaches a connection with bytes that are there already (a protocol upgrade): they are copied. `Decode` is
    /// pending then.
    ///
    /// # Errors
    ///
    /// As [`attach`](Pool::attach); the bytes do not fit into a buffer; there is no room for what a decoder may leave
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
        self.leave_fast_path();
        if !self.memory.receive_earlier(index, bytes) {
            self.remove(index);
            return Err(PoolError::NoBufferFree);
        }
        Ok(self.begin_attached(index, buffered_bytes))
    }

    /// Attaches a connection to a leased buffer and the content in it, without copying. The lease is the receiver's.
    ///
    /// # Errors
    ///
    /// The lease is stale or not the host's; the content does not lie inside the buffer; receivers have as many buffers
    /// as the cap of their class allows; as [`attach`](Pool::attach). The lease stays the host's then.
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
        let LeasedContent { lease, offset, buffered_bytes } = content;
        self.check_host_lease(lease, reach)?;
        let end = offset.checked_add(buffered_bytes).ok_or(PoolError::TooManyBytes)?;
        if end > self.memory.config().buffer_bytes {
            return Err(PoolError::TooManyBytes);
        }
        let index = self.insert(options)?;
        self.leave_fast_path();
        if !self.memory.may_adopt(lease.index()) {
            self.remove(index);
            return Err(PoolError::NoBufferFree);
        }
        self.secure_borrow();
        // Another thread may have ended or adopted the lease since it was checked.
        if let Err(error) = self.memory.buffers_mut().adopt_host_lease(lease, reach) {
            self.remove(index);
            return Err(error);
        }
        self.memory.adopt(index, Content { buffer: lease.index(), start: offset, bytes: buffered_bytes });
        Ok(self.begin_attached(index, buffered_bytes))
    }

    /// Its class from now on, for [`describe`](Pool::describe).
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
        let tenant = self.memory.buffers_mut().pin_tenant(tenant)?;
        self.leave_fast_path();
        self.move_to_tenant(index, tenant);
        Ok(())
    }

    /// A receiver belongs to a tenant that was pinned for it.
    fn move_to_tenant(&mut self, index: u32, tenant: u32) {
        let before = self.memory.set_tenant(index, tenant);
        self.memory.buffers_mut().unpin_tenant(before);
    }

    /// A receiver has no tenant any more, so that one that was removed may go away.
    pub(super) fn leave_tenant(&mut self, index: u32) {
        self.move_to_tenant(index, 0);
    }

    /// Receives by this policy from now on ([`Connection::set_policy`]); returns what the host is to do now. What it
    /// has about parking makes no difference.
    ///
    /// # Errors
    ///
    /// The receiver is stale or foreign; it is closed; it cannot count; the mode changes while a receive is in flight.
    /// Nothing is changed.
    pub fn set_policy(&mut self, id: ReceiverId, policy: &Policy) -> Result<Actions, PoolError> {
        let index = self.table.find(id)?;
        check_counting(policy, self.memory.has_unknown_length(index))?;
        self.leave_fast_path();
        self.follow_shed(index);
        self.table.connection_mut(index).set_policy(&without_parking(policy))?;
        self.follow_policy(index, policy);
        Ok(self.reconcile(index))
    }

    pub(super) fn insert(&mut self, options: &AttachOptions) -> Result<u32, PoolError> {
        self.memory.buffers().check_open()?;
        if self.is_draining {
            return Err(PoolError::Draining);
        }
        self.check_class(options.class)?;
        let policy = options.policy.map_or(self.policy, |policy| without_parking(&policy));
        check_counting(&policy, options.unknown_length)?;
        if let Err(full) = self.table.check_free() {
            if options.notify_if_full {
                self.awaited = Awaited::Attachable;
            }
            return Err(full);
        }
        let tenant = self.memory.buffers_mut().pin_tenant(options.tenant)?;
        let connection = Connection::new(policy);
        self.insert_connection(connection, options, tenant)
    }

    /// A receiver in a row of its own, which keeps nothing yet.
    pub(crate) fn insert_connection(
        &mut self,
        connection: Connection,
        options: &AttachOptions,
        tenant: u32,
    ) -> Result<u32, PoolError> {
        let policy = connection.policy();
        let connection = if self.memory.wipes() { connection.on_slow_path() } else { connection };
        let index = self.insert_row(connection, options, tenant)?;
        if policy.counting {
            self.follow_policy(index, &policy);
        }
        if self.table.connection(index).has_peer_closed() {
            self.memory.peer_closed(index).expect("it is attached");
        }
        Ok(index)
    }

    /// As `insert_connection`, of one that does not count, of a peer that may send more, where nothing is wiped.
    #[inline(always)]
    pub(crate) fn insert_row(
        &mut self,
        connection: Connection,
        options: &AttachOptions,
        tenant: u32,
    ) -> Result<u32, PoolError> {
        let (submits, reads_ahead) = (connection.has_mode(Mode::Completion), connection.reads_ahead());
        let index = self.table.insert(connection, options.class, options.token)?;
        self.memory.attach_as(index, options.unknown_length, submits, reads_ahead).expect("the row is free");
        self.memory.set_tenant(index, tenant);
        Ok(index)
    }

    /// It is attached no more, or was not after all.
    #[inline(always)]
    pub(crate) fn remove(&mut self, index: u32) {
        self.memory.close(index).expect("it is attached");
        self.free_row(index);
    }

    /// The handle ends. What the host was still to do for this receiver would keep all others from the fast path.
    #[inline(always)]
    pub(super) fn free_row(&mut self, index: u32) {
        self.scheduled.clear(index);
        self.undelivered.clear(index);
        self.leave_tenant(index);
        self.table.remove(index);
    }

    pub(super) fn begin_attached(&mut self, index: u32, buffered_bytes: u32) -> ReceiverId {
        self.counts.received_bytes += u64::from(buffered_bytes);
        self.feed(index, Event::Attach { buffered_bytes, capacity: buffered_bytes });
        self.reconcile(index);
        self.table.id(index)
    }

    pub(crate) fn check_class(&self, class: u8) -> Result<(), PoolError> {
        let classes = self.memory.buffers().classes();
        if class < classes { Ok(()) } else { Err(SchedulerError::UnknownClass { class, classes }.into()) }
    }
}
