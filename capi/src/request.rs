//! Buffers of the host's own.

use super::any_pool::AnyPool;
use super::guard::{InPool, demuxbuf_pool};
use super::out::{Out, StructError, growable, read_struct};
use super::pool::{class_of, narrowed, status, tenant_of};
use super::refusal::{Message, Refusal};
use super::size_t;
use super::status::*;
use core::ffi::{c_char, c_void};
use core::mem::offset_of;
use demuxbuf::memory::Reach;
use demuxbuf::pool::PoolError;
use demuxbuf::scheduler::{LeaseId, Outcome, Request, WaitId};

/// A request for a buffer of the host's own. All-zero but for `struct_size` asks for one for no tenant, in class 0,
/// without a deadline.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_request {
    /// `sizeof(demuxbuf_request)`.
    pub struct_size: u32,
    /// Its class.
    pub class_index: u32,
    /// Comes back with the grant.
    pub token: u64,
    /// The tenant that it counts for; 0 for none.
    pub tenant: u64,
    /// Not 0: the lease has a deadline. If it is held for `lease_ns` of the configuration while others wait, a notice
    /// names it (`DEMUXBUF_NOTICE_OVERDUE`).
    pub has_deadline: u32,
    /// Must be 0.
    pub reserved: u32,
}

growable!(demuxbuf_request, 32);

/// Asks for a buffer of the host's own (transmit, stream ...). `token` comes back with the grant.
///
/// Granted at once: `DEMUXBUF_OK` and `*handle` is the lease. Queued: `DEMUXBUF_STATUS_QUEUED` and `*handle` is the
/// wait; the lease comes from `demuxbuf_pool_poll_notice`.
/// Errors: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL`
/// (`waiters_max` requests wait), `DEMUXBUF_ERR_POOL_CLOSED` (the shared pool was freed); nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_request(
    pool: *mut demuxbuf_pool,
    class_index: u32,
    token: u64,
    handle: *mut u64,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(handle) = (unsafe { Out::new(handle) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let asked = pool.with(|pool| {
        let outcome = pool.request(class_of(class_index)?, token).map_err(status_of)?;
        Ok(outcome_of(pool, outcome))
    });
    write_outcome(asked, handle)
}

/// The status of a request that was taken, and its handle.
fn outcome_of(pool: &AnyPool, outcome: Outcome) -> (i32, u64) {
    match outcome {
        Outcome::Granted(lease) => (DEMUXBUF_OK, pool.salted(lease.to_bits())),
        Outcome::Queued(wait) => (DEMUXBUF_STATUS_QUEUED, pool.salted(wait.to_bits())),
    }
}

fn write_outcome(outcome: Result<(i32, u64), i32>, handle: Out<u64>) -> i32 {
    match outcome {
        Ok((status, bits)) => {
            handle.write(bits);
            status
        }
        Err(status) => status,
    }
}

/// Asks for a buffer of the host's own, in the name of any tenant. Else as `demuxbuf_pool_request`.
///
/// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
/// Returns `DEMUXBUF_OK` or `DEMUXBUF_STATUS_QUEUED`, and writes `*handle`. Errors: `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CLASS`,
/// `DEMUXBUF_ERR_STALE` (the tenant), `DEMUXBUF_ERR_TOO_LARGE` (it could never be granted),
/// `DEMUXBUF_ERR_DEADLINES_OFF`, `DEMUXBUF_ERR_TABLE_FULL`, `DEMUXBUF_ERR_POOL_CLOSED` (the shared pool was freed).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_request_for(
    pool: *mut demuxbuf_pool,
    request: *const demuxbuf_request,
    handle: *mut u64,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let (Some(handle), Some(message)) = (unsafe { Out::new(handle) }, unsafe { Message::new(message, message_bytes) })
    else {
        return DEMUXBUF_ERR_NULL;
    };
    let outcome = pool.with(|pool| {
        // SAFETY: as the module asks.
        let request = unsafe { read_request(request) };
        let asked = request.and_then(|request| ask(pool, &request, AnyPool::request_for));
        let outcome = asked.map_err(|refusal| message.refuse(&refusal))?;
        Ok(outcome_of(pool, outcome))
    });
    write_outcome(outcome, handle)
}

/// Asks for a buffer of the host's own that is granted at once or not at all. The request is never queued, so no notice
/// follows; and it goes before no request that is queued.
///
/// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
/// Returns `DEMUXBUF_OK` and writes `*lease`; `DEMUXBUF_STATUS_NONE` if the request would have to wait, and nothing is
/// written. Errors: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STRUCT_SIZE`,
/// `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_STALE` (the tenant),
/// `DEMUXBUF_ERR_TOO_LARGE` (it could never be granted), `DEMUXBUF_ERR_DEADLINES_OFF`, `DEMUXBUF_ERR_POOL_CLOSED` (the
/// shared pool was freed).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_try_request(
    pool: *mut demuxbuf_pool,
    request: *const demuxbuf_request,
    lease: *mut u64,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let (Some(lease), Some(message)) = (unsafe { Out::new(lease) }, unsafe { Message::new(message, message_bytes) })
    else {
        return DEMUXBUF_ERR_NULL;
    };
    let granted = pool.with(|pool| {
        // SAFETY: as the module asks.
        let request = unsafe { read_request(request) };
        let asked = request.and_then(|request| ask(pool, &request, AnyPool::try_request));
        let granted = asked.map_err(|refusal| message.refuse(&refusal))?;
        Ok(granted.map_or((DEMUXBUF_STATUS_NONE, 0), |lease| outcome_of(pool, Outcome::Granted(lease))))
    });
    match granted {
        Ok((DEMUXBUF_STATUS_NONE, _)) => DEMUXBUF_STATUS_NONE,
        granted => write_outcome(granted, lease),
    }
}

/// The host's request.
///
/// # Safety
///
/// `request` is NULL, or valid for reads of as many bytes as its `struct_size` has.
unsafe fn read_request(request: *const demuxbuf_request) -> Result<demuxbuf_request, Refusal> {
    // SAFETY: as this function asks.
    let request = unsafe { read_struct(request, demuxbuf_request::default())? };
    match request.reserved {
        0 => Ok(request),
        value => Err(StructError::Unknown { at: offset_of!(demuxbuf_request, reserved), value }.into()),
    }
}

/// Asks for what the struct describes.
fn ask<T>(
    pool: &mut AnyPool,
    request: &demuxbuf_request,
    call: impl FnOnce(&mut AnyPool, &Request) -> Result<T, PoolError>,
) -> Result<T, Refusal> {
    let asked = Request {
        tenant: tenant_of(pool, request.tenant),
        has_deadline: request.has_deadline != 0,
        ..Request::new(narrowed(request.class_index), request.token)
    };
    let demuxbuf_request { class_index, tenant, .. } = *request;
    call(pool, &asked).map_err(|error| Refusal::Request { error, class_index, tenant })
}

/// Releases a buffer of the host's own; the next waiter has it in the same step. It may come from any pool of the same
/// `demuxbuf_shared_pool`, also from one that was freed.
///
/// Of several threads that release or adopt one lease at once, one succeeds.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (released already, of
/// another pool, or a receiver's).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_release(pool: *mut demuxbuf_pool, lease: u64) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    status(pool.with(|pool| {
        let lease = LeaseId::from_bits(pool.salted(lease));
        // SAFETY: C has addresses of buffers and no slices, and one thread at a time uses a buffer, as the module asks.
        let reach = unsafe { Reach::anywhere() };
        pool.release_within(lease, reach).map_err(status_of)
    }))
}

/// The deadline of a lease of the host's own begins anew: what the buffer is held for makes progress. A later notice
/// may name the lease again.
///
/// Cost: O(1).
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_NO_DEADLINE` (it was requested without one, or from another pool of the same `demuxbuf_shared_pool`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_renew_lease(pool: *mut demuxbuf_pool, lease: u64) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    status(pool.with(|pool| pool.renew_lease(LeaseId::from_bits(pool.salted(lease))).map_err(status_of)))
}

/// Ends a wait of the host's own; a buffer assigned to it goes to the next waiter in the same step.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (granted or cancelled
/// already, of another pool, or a receiver's).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_cancel(pool: *mut demuxbuf_pool, wait: u64) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    status(pool.with(|pool| pool.cancel(WaitId::from_bits(pool.salted(wait))).map_err(status_of)))
}

/// The memory of a buffer of the host's own: `*data` is valid until the lease ends, `*bytes` is its size. The lease may
/// come from any pool of the same `demuxbuf_shared_pool`, also from one that was freed.
///
/// Thread rule: one thread at a time per pool, and one thread at a time per buffer.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_buffer(
    pool: *mut demuxbuf_pool,
    lease: u64,
    data: *mut *mut u8,
    bytes: *mut u32,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let (Some(data), Some(bytes)) = (unsafe { Out::new(data) }, unsafe { Out::new(bytes) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let found = pool.look(|pool| {
        let lease = LeaseId::from_bits(pool.salted(lease));
        pool.buffer_area(lease).map_err(status_of)
    });
    match found {
        Ok((at, length)) => {
            data.write(at.as_ptr());
            bytes.write(length);
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

/// The lease of the buffer that `address` lies in, be it the first byte, the last or one between them: for a host that
/// hands on pointers into its buffers and has to release one. The address is compared, never followed; it may lie in a
/// buffer of any pool of the same `demuxbuf_shared_pool`.
///
/// Cost: O(1).
/// Returns `DEMUXBUF_OK` and writes `*lease`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_ADDRESS` (in
/// no buffer of the pool), `DEMUXBUF_ERR_STALE` (in a buffer that is free, or a receiver's).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_lease_of_address(
    pool: *const demuxbuf_pool,
    address: *const c_void,
    lease: *mut u64,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(lease) = (unsafe { Out::new(lease) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    if address.is_null() {
        return DEMUXBUF_ERR_NULL;
    }
    let found = pool.look(|pool| {
        let found = pool.lease_of_address(address.cast()).map_err(status_of)?;
        Ok(pool.salted(found.to_bits()))
    });
    status(found.map(|found| lease.write(found)))
}
