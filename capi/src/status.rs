//! The numbers every C function returns.
//!
//! Errors are multiples of 65536: the lower half of the number, where a mask has its actions, is 0. A host that takes
//! an error for a mask of actions finds nothing to do there, instead of an action that fails again and again.

use demuxbuf::pool::PoolError;
use demuxbuf::scheduler::SchedulerError;

/// Done.
pub const DEMUXBUF_OK: i32 = 0;
/// Not granted at once: queued, and served later through `demuxbuf_pool_poll_notice`.
pub const DEMUXBUF_STATUS_QUEUED: i32 = 1;
/// There is nothing to report, or nothing was granted and the call does not queue.
pub const DEMUXBUF_STATUS_NONE: i32 = 2;
/// The connection was never attached.
pub const DEMUXBUF_ERR_NOT_ATTACHED: i32 = -65536;
/// The connection is attached already, or not finished yet.
pub const DEMUXBUF_ERR_ALREADY_ATTACHED: i32 = -2 * 65536;
/// The connection is closed.
pub const DEMUXBUF_ERR_CLOSED: i32 = -3 * 65536;
/// No buffer is held.
pub const DEMUXBUF_ERR_NO_BUFFER: i32 = -4 * 65536;
/// A buffer is held already.
pub const DEMUXBUF_ERR_ALREADY_HELD: i32 = -5 * 65536;
/// The connection is queued already.
pub const DEMUXBUF_ERR_ALREADY_WAITING: i32 = -6 * 65536;
/// The capacity is 0, or below what is buffered.
pub const DEMUXBUF_ERR_CAPACITY_TOO_SMALL: i32 = -7 * 65536;
/// More bytes than there was room for, or than were buffered.
pub const DEMUXBUF_ERR_TOO_MANY_BYTES: i32 = -8 * 65536;
/// 0 bytes where at least 1 is needed.
pub const DEMUXBUF_ERR_ZERO_BYTES: i32 = -9 * 65536;
/// The mask of reasons is empty.
pub const DEMUXBUF_ERR_NO_REASONS: i32 = -10 * 65536;
/// Bytes after the end of the stream.
pub const DEMUXBUF_ERR_AFTER_END: i32 = -11 * 65536;
/// An action was reported done that is not pending, or is not reported this way.
pub const DEMUXBUF_ERR_NOT_PENDING: i32 = -12 * 65536;
/// A receive is in flight into what is held.
pub const DEMUXBUF_ERR_IN_FLIGHT: i32 = -13 * 65536;
/// A pointer is NULL that must not be.
pub const DEMUXBUF_ERR_NULL: i32 = -32 * 65536;
/// A configuration is not allowed; the message names the field, the value and what is allowed.
pub const DEMUXBUF_ERR_CONFIG: i32 = -33 * 65536;
/// Memory could not be reserved.
pub const DEMUXBUF_ERR_NO_MEMORY: i32 = -34 * 65536;
/// A call inside the library panicked before: the object is poisoned and can only be freed.
pub const DEMUXBUF_ERR_POISONED: i32 = -35 * 65536;
/// The handle is stale, was released already, or belongs to another pool.
pub const DEMUXBUF_ERR_STALE: i32 = -36 * 65536;
/// The class does not exist.
pub const DEMUXBUF_ERR_CLASS: i32 = -37 * 65536;
/// The table of waiters, of receivers or of tenants is full.
pub const DEMUXBUF_ERR_TABLE_FULL: i32 = -38 * 65536;
/// No buffer is free, and this call does not queue.
pub const DEMUXBUF_ERR_NO_BUFFER_FREE: i32 = -39 * 65536;
/// The receiver drives this by itself; the host does not report it.
pub const DEMUXBUF_ERR_INTERNAL_EVENT: i32 = -40 * 65536;
/// The bytes break a rule of the framed protocol; see the outputs.
pub const DEMUXBUF_ERR_PROTOCOL: i32 = -41 * 65536;
/// A number is outside what is allowed.
pub const DEMUXBUF_ERR_RANGE: i32 = -42 * 65536;
/// A rule that must always hold is broken: a defect of the library, found by `demuxbuf_pool_check_invariants`.
pub const DEMUXBUF_ERR_INVARIANT: i32 = -43 * 65536;
/// It could never be granted: a reserve or a cap leaves less.
pub const DEMUXBUF_ERR_TOO_LARGE: i32 = -45 * 65536;
/// The pool is another thread's.
pub const DEMUXBUF_ERR_WRONG_THREAD: i32 = -47 * 65536;
/// The thread has its pool already.
pub const DEMUXBUF_ERR_IN_USE: i32 = -48 * 65536;
/// The shared pool was freed: it takes no new receivers and requests.
pub const DEMUXBUF_ERR_POOL_CLOSED: i32 = -49 * 65536;
/// The pool is of one thread, so nothing can move.
pub const DEMUXBUF_ERR_NOT_SHARED: i32 = -50 * 65536;
/// As many pools are alive in the process as have tags, 1023; a shared pool counts once.
pub const DEMUXBUF_ERR_TOO_MANY_POOLS: i32 = -51 * 65536;
/// The receiver is to be shed, so it does not move.
pub const DEMUXBUF_ERR_NOT_MOVABLE: i32 = -53 * 65536;
/// As many receivers are exported and not imported yet as can be.
pub const DEMUXBUF_ERR_EXPORTS_FULL: i32 = -55 * 65536;
/// The address lies in no buffer of the pool.
pub const DEMUXBUF_ERR_ADDRESS: i32 = -56 * 65536;
/// Jobs that hold a buffer and ask for another one can wait for each other without end; the message names the classes.
pub const DEMUXBUF_ERR_DEADLOCK: i32 = -57 * 65536;
/// The configuration did not ask for an audit.
pub const DEMUXBUF_ERR_AUDIT_OFF: i32 = -58 * 65536;
/// The receiver cannot count: not in its mode, under a layer that reads ahead, or of unknown length; the message names
/// it.
pub const DEMUXBUF_ERR_CANNOT_COUNT: i32 = -59 * 65536;

/// `struct_size` is below the size of the struct's first version, or above 4096.
pub const DEMUXBUF_ERR_STRUCT_SIZE: i32 = -60 * 65536;
/// A field is not 0 that is reserved, or that a newer header has and this library does not know.
pub const DEMUXBUF_ERR_UNKNOWN_FIELD: i32 = -61 * 65536;
/// The event does not exist.
pub const DEMUXBUF_ERR_EVENT: i32 = -62 * 65536;
/// A request asks for a lease with a deadline, and the configuration of the pool has no `lease_ns`.
pub const DEMUXBUF_ERR_DEADLINES_OFF: i32 = -63 * 65536;
/// The lease has no deadline in this pool.
pub const DEMUXBUF_ERR_NO_DEADLINE: i32 = -64 * 65536;
/// The pool drains: it takes no new receivers.
pub const DEMUXBUF_ERR_DRAINING: i32 = -65 * 65536;
/// Delivered bytes are in place, in the host's memory: report on them first, with `demuxbuf_receiver_delivered`.
pub const DEMUXBUF_ERR_IN_PLACE: i32 = -66 * 65536;
/// Bytes are looked at in the kernel: report on all of them first, and receive away what was decoded.
pub const DEMUXBUF_ERR_LOOKED_AT: i32 = -67 * 65536;

/// The number of a refusal.
pub(super) fn status_of(error: PoolError) -> i32 {
    match error {
        PoolError::Stale => DEMUXBUF_ERR_STALE,
        PoolError::Scheduler(error) => status_of_scheduler(error),
        PoolError::ReceiversFull { .. } => DEMUXBUF_ERR_TABLE_FULL,
        PoolError::NoBufferFree => DEMUXBUF_ERR_NO_BUFFER_FREE,
        PoolError::NoBuffer => DEMUXBUF_ERR_NO_BUFFER,
        PoolError::UnknownAddress => DEMUXBUF_ERR_ADDRESS,
        PoolError::TooManyBytes => DEMUXBUF_ERR_TOO_MANY_BYTES,
        PoolError::InPlace => DEMUXBUF_ERR_IN_PLACE,
        PoolError::LookedAt => DEMUXBUF_ERR_LOOKED_AT,
        PoolError::InternalEvent => DEMUXBUF_ERR_INTERNAL_EVENT,
        PoolError::PoolClosed => DEMUXBUF_ERR_POOL_CLOSED,
        PoolError::WrongThread => DEMUXBUF_ERR_WRONG_THREAD,
        PoolError::NotShared => DEMUXBUF_ERR_NOT_SHARED,
        PoolError::NotMovable => DEMUXBUF_ERR_NOT_MOVABLE,
        PoolError::ExportsFull => DEMUXBUF_ERR_EXPORTS_FULL,
        PoolError::AuditOff => DEMUXBUF_ERR_AUDIT_OFF,
        PoolError::Draining => DEMUXBUF_ERR_DRAINING,
        PoolError::DeadlinesOff => DEMUXBUF_ERR_DEADLINES_OFF,
        PoolError::NoDeadline => DEMUXBUF_ERR_NO_DEADLINE,
        PoolError::CannotCount { .. } => DEMUXBUF_ERR_CANNOT_COUNT,
        PoolError::Event(error) => error.code(),
        // A cause without a status is a defect of the library.
        _ => DEMUXBUF_ERR_INVARIANT,
    }
}

fn status_of_scheduler(error: SchedulerError) -> i32 {
    match error {
        SchedulerError::UnknownClass { .. } => DEMUXBUF_ERR_CLASS,
        SchedulerError::TooLarge { .. } => DEMUXBUF_ERR_TOO_LARGE,
        SchedulerError::WaitersFull { .. } | SchedulerError::TenantsFull { .. } => DEMUXBUF_ERR_TABLE_FULL,
        SchedulerError::StaleLease | SchedulerError::StaleWait | SchedulerError::StaleTenant => DEMUXBUF_ERR_STALE,
        SchedulerError::TenantConfig { .. } => DEMUXBUF_ERR_RANGE,
        // A cause without a status is a defect of the library.
        _ => DEMUXBUF_ERR_INVARIANT,
    }
}

#[cfg(test)]
mod tests {
    use super::super::actions::DEMUXBUF_ERROR;
    use super::super::strerror::message;
    use super::*;
    use demuxbuf::connection::{Action, EventError};

    #[test]
    fn event_error_has_the_same_number_and_words_in_c() {
        for (error, status) in [
            (EventError::NotAttached, DEMUXBUF_ERR_NOT_ATTACHED),
            (EventError::AlreadyAttached, DEMUXBUF_ERR_ALREADY_ATTACHED),
            (EventError::Closed, DEMUXBUF_ERR_CLOSED),
            (EventError::NoBuffer, DEMUXBUF_ERR_NO_BUFFER),
            (EventError::AlreadyHeld, DEMUXBUF_ERR_ALREADY_HELD),
            (EventError::AlreadyWaiting, DEMUXBUF_ERR_ALREADY_WAITING),
            (EventError::CapacityTooSmall, DEMUXBUF_ERR_CAPACITY_TOO_SMALL),
            (EventError::TooManyBytes, DEMUXBUF_ERR_TOO_MANY_BYTES),
            (EventError::ZeroBytes, DEMUXBUF_ERR_ZERO_BYTES),
            (EventError::NoReasons, DEMUXBUF_ERR_NO_REASONS),
            (EventError::AfterEnd, DEMUXBUF_ERR_AFTER_END),
            (EventError::NotPending, DEMUXBUF_ERR_NOT_PENDING),
            (EventError::InFlight, DEMUXBUF_ERR_IN_FLIGHT),
            (EventError::Poisoned, DEMUXBUF_ERR_POISONED),
        ] {
            assert_eq!(error.code(), status);
            assert_eq!(message(status).to_str(), Ok(error.message()));
        }
    }

    /// The numbers that programs were compiled with, in units of 65536.
    const NUMBERS: [(i32, i32); 45] = [
        (DEMUXBUF_ERR_NOT_ATTACHED, 1),
        (DEMUXBUF_ERR_ALREADY_ATTACHED, 2),
        (DEMUXBUF_ERR_CLOSED, 3),
        (DEMUXBUF_ERR_NO_BUFFER, 4),
        (DEMUXBUF_ERR_ALREADY_HELD, 5),
        (DEMUXBUF_ERR_ALREADY_WAITING, 6),
        (DEMUXBUF_ERR_CAPACITY_TOO_SMALL, 7),
        (DEMUXBUF_ERR_TOO_MANY_BYTES, 8),
        (DEMUXBUF_ERR_ZERO_BYTES, 9),
        (DEMUXBUF_ERR_NO_REASONS, 10),
        (DEMUXBUF_ERR_AFTER_END, 11),
        (DEMUXBUF_ERR_NOT_PENDING, 12),
        (DEMUXBUF_ERR_IN_FLIGHT, 13),
        (DEMUXBUF_ERR_NULL, 32),
        (DEMUXBUF_ERR_CONFIG, 33),
        (DEMUXBUF_ERR_NO_MEMORY, 34),
        (DEMUXBUF_ERR_POISONED, 35),
        (DEMUXBUF_ERR_STALE, 36),
        (DEMUXBUF_ERR_CLASS, 37),
        (DEMUXBUF_ERR_TABLE_FULL, 38),
        (DEMUXBUF_ERR_NO_BUFFER_FREE, 39),
        (DEMUXBUF_ERR_INTERNAL_EVENT, 40),
        (DEMUXBUF_ERR_PROTOCOL, 41),
        (DEMUXBUF_ERR_RANGE, 42),
        (DEMUXBUF_ERR_INVARIANT, 43),
        (DEMUXBUF_ERR_TOO_LARGE, 45),
        (DEMUXBUF_ERR_WRONG_THREAD, 47),
        (DEMUXBUF_ERR_IN_USE, 48),
        (DEMUXBUF_ERR_POOL_CLOSED, 49),
        (DEMUXBUF_ERR_NOT_SHARED, 50),
        (DEMUXBUF_ERR_TOO_MANY_POOLS, 51),
        (DEMUXBUF_ERR_NOT_MOVABLE, 53),
        (DEMUXBUF_ERR_EXPORTS_FULL, 55),
        (DEMUXBUF_ERR_ADDRESS, 56),
        (DEMUXBUF_ERR_DEADLOCK, 57),
        (DEMUXBUF_ERR_AUDIT_OFF, 58),
        (DEMUXBUF_ERR_CANNOT_COUNT, 59),
        (DEMUXBUF_ERR_STRUCT_SIZE, 60),
        (DEMUXBUF_ERR_UNKNOWN_FIELD, 61),
        (DEMUXBUF_ERR_EVENT, 62),
        (DEMUXBUF_ERR_DEADLINES_OFF, 63),
        (DEMUXBUF_ERR_NO_DEADLINE, 64),
        (DEMUXBUF_ERR_DRAINING, 65),
        (DEMUXBUF_ERR_IN_PLACE, 66),
        (DEMUXBUF_ERR_LOOKED_AT, 67),
    ];

    /// What masks are asked for, and what they may be asked for one day.
    const OF_ACTIONS: u32 = 0xffff;

    #[test]
    fn s66_error_status_has_no_action_bits() {
        let mut count = 0;
        for (status, number) in NUMBERS {
            assert_eq!(status, -number * 65_536);
            assert_eq!(status as u32 & OF_ACTIONS, 0, "{status} as a mask asks for something");
            assert_eq!(status as u32 & DEMUXBUF_ERROR, DEMUXBUF_ERROR);
            assert_ne!(message(status), message(i32::MIN));
            count += 1;
        }
        let actions = Action::ALL.iter().fold(0, |mask, &action| mask | action as u32);
        assert_eq!(actions & !OF_ACTIONS, 0, "an action has a bit of the statuses");
        let defined = include_str!("status.rs").lines().filter(|line| line.starts_with("pub const DEMUXBUF_ERR_"));
        assert_eq!(count, defined.count(), "the list of numbers lacks a status");
    }
    /// Each cause that the library can name has its status, and none is taken for a defect of the library.
    #[test]
    fn status_of_names_each_cause() {
        let stale = [SchedulerError::StaleLease, SchedulerError::StaleWait, SchedulerError::StaleTenant];
        for error in stale {
            assert_eq!(status_of(error.into()), DEMUXBUF_ERR_STALE);
        }
        let tenant = SchedulerError::TenantConfig { field: "weight", value: 0, min: 1, max: 5 };
        for (error, status) in [
            (PoolError::Stale, DEMUXBUF_ERR_STALE),
            (SchedulerError::UnknownClass { class: 1, classes: 1 }.into(), DEMUXBUF_ERR_CLASS),
            (SchedulerError::TooLarge { units: 2 }.into(), DEMUXBUF_ERR_TOO_LARGE),
            (SchedulerError::WaitersFull { waiters_max: 1 }.into(), DEMUXBUF_ERR_TABLE_FULL),
            (SchedulerError::TenantsFull { tenants_max: 1 }.into(), DEMUXBUF_ERR_TABLE_FULL),
            (tenant.into(), DEMUXBUF_ERR_RANGE),
            (EventError::AfterEnd.into(), DEMUXBUF_ERR_AFTER_END),
            (PoolError::ReceiversFull { receivers_max: 1 }, DEMUXBUF_ERR_TABLE_FULL),
            (PoolError::NoBufferFree, DEMUXBUF_ERR_NO_BUFFER_FREE),
            (PoolError::NoBuffer, DEMUXBUF_ERR_NO_BUFFER),
            (PoolError::TooManyBytes, DEMUXBUF_ERR_TOO_MANY_BYTES),
            (PoolError::InPlace, DEMUXBUF_ERR_IN_PLACE),
            (PoolError::InternalEvent, DEMUXBUF_ERR_INTERNAL_EVENT),
            (PoolError::PoolClosed, DEMUXBUF_ERR_POOL_CLOSED),
            (PoolError::WrongThread, DEMUXBUF_ERR_WRONG_THREAD),
            (PoolError::NotShared, DEMUXBUF_ERR_NOT_SHARED),
            (PoolError::NotMovable, DEMUXBUF_ERR_NOT_MOVABLE),
            (PoolError::ExportsFull, DEMUXBUF_ERR_EXPORTS_FULL),
            (PoolError::UnknownAddress, DEMUXBUF_ERR_ADDRESS),
            (PoolError::AuditOff, DEMUXBUF_ERR_AUDIT_OFF),
            (PoolError::Draining, DEMUXBUF_ERR_DRAINING),
            (PoolError::DeadlinesOff, DEMUXBUF_ERR_DEADLINES_OFF),
            (PoolError::NoDeadline, DEMUXBUF_ERR_NO_DEADLINE),
            (PoolError::CannotCount { with: "reads_ahead" }, DEMUXBUF_ERR_CANNOT_COUNT),
        ] {
            assert_eq!(status_of(error), status, "{error}");
        }
    }
}
