//! How a connection becomes a receiver, and what of that is changed later.

use super::any_pool::AnyPool;
use super::guard::{InPool, bytes_at, demuxbuf_pool};
use super::out::{Out, growable, read_struct};
use super::policy::{demuxbuf_policy, read_policy};
use super::pool::{narrowed, status, tenant_of};
use super::receiver::demuxbuf_leased_content;
use super::refusal::{Message, Refusal};
use super::size_t;
use super::status::*;
use super::step::demuxbuf_step;
use core::ffi::c_char;
use demuxbuf::connection::Policy;
use demuxbuf::memory::Reach;
use demuxbuf::pool::{AttachOptions, ConfigError, LeasedContent, PoolError, ReceiverId};
use demuxbuf::scheduler::LeaseId;

/// What a connection is attached with: a new field has its default if it is 0. Class, tenant and policy can be changed
/// later: `demuxbuf_receiver_set_class`, `_set_tenant`, `_set_policy`.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_attach_options {
    /// `sizeof(demuxbuf_attach_options)`.
    pub struct_size: u32,
    /// Its class, for `demuxbuf_receiver_describe`: receivers use memory in the last class, whatever theirs is.
    pub class_index: u32,
    /// Comes back in notices.
    pub token: u64,
    /// The tenant that its memory counts for; 0 for none.
    pub tenant: u64,
    /// Bytes at `bytes`; 0 for none.
    pub length: u64,
    /// Not 0: if the table of receivers is full, a notice follows once it is not any more:
    /// `DEMUXBUF_NOTICE_ATTACHABLE`, once, however many calls were refused.
    pub notify_if_full: u32,
    /// Not 0: its decoder reports only that it needs more, not how much. The pool gives room by it.
    pub unknown_length: u32,
    /// How it receives; NULL for the policy of the pool. Read by the call alone.
    pub policy: *const demuxbuf_policy,
    /// What was received already (a protocol upgrade): `length` bytes, which are copied. Read by the call alone.
    pub bytes: *const u8,
}

growable!(demuxbuf_attach_options, 40 + 2 * size_of::<usize>());

/// The host's struct, with the policy that it points to.
struct ReadOptions {
    options: demuxbuf_attach_options,
    policy: Option<Policy>,
}

impl ReadOptions {
    /// # Safety
    ///
    /// `options` is NULL, or valid for reads of as many bytes as its `struct_size` has, and so is its policy.
    unsafe fn read(options: *const demuxbuf_attach_options) -> Result<ReadOptions, Refusal> {
        let default = demuxbuf_attach_options::default();
        if options.is_null() {
            return Ok(ReadOptions { options: default, policy: None });
        }
        // SAFETY: as this function asks.
        let options = unsafe { read_struct(options, default)? };
        let policy = match options.policy.is_null() {
            true => None,
            // SAFETY: as this function asks.
            false => Some(unsafe { read_policy(options.policy)? }),
        };
        Ok(ReadOptions { options, policy })
    }

    /// # Safety
    ///
    /// `bytes` of the options is NULL, or valid for reads of `length` bytes for `'a`.
    unsafe fn bytes<'a>(&self) -> Result<&'a [u8], Refusal> {
        let length = usize::try_from(self.options.length).map_err(|_| PoolError::TooManyBytes)?;
        // SAFETY: as this function asks.
        let bytes = unsafe { bytes_at(self.options.bytes, length) };
        bytes.map_err(
            |status| if status == DEMUXBUF_ERR_NULL { Refusal::NoBytes } else { PoolError::TooManyBytes.into() },
        )
    }

    fn for_pool(&self, pool: &AnyPool) -> AttachOptions {
        AttachOptions {
            class: narrowed(self.options.class_index),
            token: self.options.token,
            tenant: tenant_of(pool, self.options.tenant),
            policy: self.policy,
            notify_if_full: self.options.notify_if_full != 0,
            unknown_length: self.options.unknown_length != 0,
        }
    }

    fn refusal(&self, error: PoolError) -> Refusal {
        let demuxbuf_attach_options { class_index, tenant, .. } = self.options;
        Refusal::Request { error, class_index, tenant }
    }
}

/// Attaches a connection. `options` has what it is attached with; NULL is the same as all-zero but for `struct_size`:
/// nothing buffered, class 0, no tenant, the policy of the pool. `*receiver` is its handle until `DEMUXBUF_FINISHED`;
/// call `demuxbuf_receiver_pending` next. `message` and `message_bytes` are as for `demuxbuf_pool_new`.
///
/// Where no buffer is free for `bytes`, attach without them, and copy them to `data` of the first `DEMUXBUF_RECV` as if
/// they had been received: then the receiver waits for room.
/// Cost: O(1), and the copy.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL` (also: `bytes` NULL and `length` not 0), `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CONFIG` (a wrong `mode` in the policy),
/// `DEMUXBUF_ERR_CANNOT_COUNT`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_STALE` (the tenant), `DEMUXBUF_ERR_TABLE_FULL` (see
/// `notify_if_full`), `DEMUXBUF_ERR_TOO_MANY_BYTES` (more than a buffer), `DEMUXBUF_ERR_NO_BUFFER_FREE` (none for these
/// bytes now), `DEMUXBUF_ERR_WRONG_THREAD`, `DEMUXBUF_ERR_POOL_CLOSED` (the shared pool was freed); nothing is changed
/// then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_attach(
    pool: *mut demuxbuf_pool,
    options: *const demuxbuf_attach_options,
    receiver: *mut u64,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let (receiver, message) = unsafe { (Out::new(receiver), Message::new(message, message_bytes)) };
    let (Some(receiver), Some(message)) = (receiver, message) else {
        return DEMUXBUF_ERR_NULL;
    };
    let attached = pool.with_own(|pool| {
        // SAFETY: as the module asks.
        let options = unsafe { ReadOptions::read(options) };
        let attached = options.and_then(|options| {
            // SAFETY: as the module asks.
            let bytes = unsafe { options.bytes()? };
            pool.attach_with(&options.for_pool(pool), bytes).map_err(|error| options.refusal(error))
        });
        attached.map_err(|refusal| message.refuse(&refusal))
    });
    status(attached.map(|id| receiver.write(id.to_bits())))
}

/// Attaches a connection to a buffer of the host's own and the content in it, without copying. The lease is the
/// receiver's then. `options` as for `demuxbuf_receiver_attach`, with `length` 0. `*receiver` is its handle; call
/// `demuxbuf_receiver_pending` next. The lease may come from any pool of the same `demuxbuf_shared_pool`, also from one
/// that was freed. It counts for the tenant of the receiver from now on.
///
/// Of several threads that release or adopt one lease at once, one succeeds.
/// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STRUCT_SIZE`,
/// `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CONFIG` (a wrong `mode`, or `length` is not 0),
/// `DEMUXBUF_ERR_CANNOT_COUNT`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL`, `DEMUXBUF_ERR_STALE` (the tenant, or
/// not a lease of the host's), `DEMUXBUF_ERR_NO_BUFFER_FREE` (the tenant, or the class of receivers, may have no more),
/// `DEMUXBUF_ERR_TOO_MANY_BYTES` (content outside the buffer), `DEMUXBUF_ERR_WRONG_THREAD`,
/// `DEMUXBUF_ERR_POOL_CLOSED` (the shared pool was freed); nothing is changed then and the lease stays the host's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_adopt(
    pool: *mut demuxbuf_pool,
    options: *const demuxbuf_attach_options,
    content: *const demuxbuf_leased_content,
    receiver: *mut u64,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let (content, receiver) = unsafe { (content.as_ref(), Out::new(receiver)) };
    // SAFETY: as the module asks.
    let message = unsafe { Message::new(message, message_bytes) };
    let (Some(content), Some(receiver), Some(message)) = (content, receiver, message) else {
        return DEMUXBUF_ERR_NULL;
    };
    let adopted = pool.with_own(|pool| {
        // SAFETY: as the module asks.
        let options = unsafe { ReadOptions::read(options) };
        let adopted = options.and_then(|options| {
            if options.options.length != 0 {
                return Err(ConfigError::out_of_range("length", options.options.length, 0, 0).into());
            }
            let lease = LeaseId::from_bits(pool.salted(content.lease));
            let content = LeasedContent { lease, offset: content.offset, buffered_bytes: content.buffered_bytes };
            // SAFETY: C has addresses of buffers and no slices, and one thread at a time uses a buffer, as the module
            // asks.
            let reach = unsafe { Reach::anywhere() };
            pool.adopt_within(&options.for_pool(pool), content, reach).map_err(|error| options.refusal(error))
        });
        adopted.map_err(|refusal| message.refuse(&refusal))
    });
    status(adopted.map(|id| receiver.write(id.to_bits())))
}

/// Its class from now on, for `demuxbuf_receiver_describe`: receivers use memory in the last class, whatever theirs is.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_CLASS`;
/// nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_set_class(pool: *mut demuxbuf_pool, receiver: u64, class_index: u32) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    let id = ReceiverId::from_bits(receiver);
    status(pool.with(|pool| pool.set_class(id, narrowed(class_index)).map_err(status_of)))
}

/// Receives by this policy from now on, for example after a protocol upgrade. With another mode, read interest counts
/// as off: `DEMUXBUF_WANT_RECV` asks for it in the new mode, which you register with the poller instead of the old one.
/// A mode that receives before it asks (optimistic, completion) does so first.
///
/// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`,
/// `DEMUXBUF_ERR_CONFIG` (a wrong `mode`), `DEMUXBUF_ERR_CANNOT_COUNT`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_CLOSED`,
/// `DEMUXBUF_ERR_IN_FLIGHT` (another mode while a receive is in flight).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_set_policy(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    policy: *const demuxbuf_policy,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(message) = (unsafe { Message::new(message, message_bytes) }) else {
        return demuxbuf_step::status(DEMUXBUF_ERR_NULL);
    };
    let id = ReceiverId::from_bits(receiver);
    let set = pool.with(|pool| {
        // SAFETY: as the module asks.
        let policy = unsafe { read_policy(policy) };
        let set = policy.and_then(|policy| Ok(pool.set_policy(id, &policy)?));
        let actions = set.map_err(|refusal| message.refuse(&refusal))?;
        let index = pool.find(id).map_err(status_of)?;
        Ok(demuxbuf_step::at(pool.place(index, actions), actions))
    });
    set.unwrap_or_else(demuxbuf_step::status)
}
