//! Texts of statuses.

use super::guard::guarded_or;
use super::status::*;
use core::ffi::{CStr, c_char};

/// Says in words what a status means.
///
/// Returns a static string; never NULL, also for numbers that mean nothing.
/// Thread rule: any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn demuxbuf_strerror(status: i32) -> *const c_char {
    guarded_or(c"unknown status".as_ptr(), || message(status).as_ptr())
}

pub(super) fn message(status: i32) -> &'static CStr {
    match status {
        DEMUXBUF_OK => c"done",
        DEMUXBUF_STATUS_QUEUED => c"queued for a buffer",
        DEMUXBUF_STATUS_NONE => c"nothing to report, or nothing granted",
        DEMUXBUF_ERR_NOT_ATTACHED => c"the connection was never attached",
        DEMUXBUF_ERR_ALREADY_ATTACHED => c"the connection is attached already",
        DEMUXBUF_ERR_CLOSED => c"the connection is closed",
        DEMUXBUF_ERR_NO_BUFFER => c"no buffer is held",
        DEMUXBUF_ERR_ALREADY_HELD => c"a buffer is held already",
        DEMUXBUF_ERR_ALREADY_WAITING => c"the connection is queued already",
        DEMUXBUF_ERR_CAPACITY_TOO_SMALL => c"the capacity is 0 or below what is buffered",
        DEMUXBUF_ERR_TOO_MANY_BYTES => c"more bytes than there was room for, or than were buffered",
        DEMUXBUF_ERR_ZERO_BYTES => c"0 bytes where at least 1 is needed",
        DEMUXBUF_ERR_NO_REASONS => c"the mask of reasons is empty",
        DEMUXBUF_ERR_AFTER_END => c"bytes after the end of the stream",
        DEMUXBUF_ERR_NOT_PENDING => c"an action was reported done that is not pending",
        DEMUXBUF_ERR_IN_FLIGHT => c"a receive is in flight into what is held",
        DEMUXBUF_ERR_NULL => c"a pointer is NULL that must not be",
        DEMUXBUF_ERR_CONFIG => c"a configuration value is not allowed",
        DEMUXBUF_ERR_NO_MEMORY => c"memory could not be reserved",
        DEMUXBUF_ERR_POISONED => c"the object is poisoned by an earlier panic",
        DEMUXBUF_ERR_STALE => c"the handle is stale or foreign",
        DEMUXBUF_ERR_CLASS => c"the class does not exist",
        DEMUXBUF_ERR_TABLE_FULL => c"the table is full",
        DEMUXBUF_ERR_NO_BUFFER_FREE => c"no buffer is free",
        DEMUXBUF_ERR_INTERNAL_EVENT => c"the receiver drives this by itself",
        DEMUXBUF_ERR_PROTOCOL => c"the bytes break a rule of the protocol",
        DEMUXBUF_ERR_RANGE => c"a number is out of range",
        DEMUXBUF_ERR_TOO_LARGE => c"it could never be granted: a reserve or a cap leaves less",
        DEMUXBUF_ERR_WRONG_THREAD => c"the pool belongs to another thread",
        DEMUXBUF_ERR_IN_USE => c"the thread has its pool already",
        DEMUXBUF_ERR_POOL_CLOSED => c"the shared pool was freed",
        DEMUXBUF_ERR_NOT_SHARED => c"the pool is of one thread",
        DEMUXBUF_ERR_TOO_MANY_POOLS => c"as many pools are alive as the process can have",
        DEMUXBUF_ERR_NOT_MOVABLE => c"the receiver is to be shed, and does not move",
        DEMUXBUF_ERR_EXPORTS_FULL => c"as many receivers are being exported as can be",
        DEMUXBUF_ERR_ADDRESS => c"the address lies in no buffer of the pool",
        DEMUXBUF_ERR_DEADLOCK => c"jobs that hold a buffer and ask for another one can wait without end",
        DEMUXBUF_ERR_AUDIT_OFF => c"the pool has no audit: its configuration did not ask for one",
        DEMUXBUF_ERR_CANNOT_COUNT => c"the receiver cannot leave partial frames in the kernel",
        DEMUXBUF_ERR_STRUCT_SIZE => c"struct_size is not the size of any version of the struct",
        DEMUXBUF_ERR_UNKNOWN_FIELD => c"a field that this library does not know is not 0",
        DEMUXBUF_ERR_EVENT => c"the event does not exist",
        DEMUXBUF_ERR_DEADLINES_OFF => c"the configuration has no lease_ns, so no lease has a deadline",
        DEMUXBUF_ERR_DRAINING => c"the pool drains: it takes no new receivers",
        DEMUXBUF_ERR_NO_DEADLINE => c"the lease has no deadline in this pool",
        DEMUXBUF_ERR_LOOKED_AT => c"bytes are looked at: report on all of them, and receive away what was decoded",
        DEMUXBUF_ERR_IN_PLACE => c"delivered bytes are in place: report on them first",
        DEMUXBUF_ERR_INVARIANT => c"a rule that must always hold is broken",
        _ => c"unknown status",
    }
}
