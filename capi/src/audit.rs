//! The audit: what the host left undone.

use super::actions::ActionNames;
use super::guard::{InPool, demuxbuf_pool, guarded_or};
use super::out::{StructOut, Text, growable, read_struct};
use super::size_t;
use super::status::*;
use core::ffi::c_char;
use demuxbuf::connection::Actions;
use demuxbuf::pool::{Finding, FindingKind, ReceiverId};

/// An action is pending, see `actions`.
pub const DEMUXBUF_FINDING_ACTION_UNDONE: u32 = 1;
/// `DEMUXBUF_RECV` or `DEMUXBUF_DECODE` was pending at an earlier audit, and nothing happened to the receiver since.
/// With level-triggered read interest that is armed, `DEMUXBUF_RECV` alone may stay pending, and is named only while
/// requests wait.
pub const DEMUXBUF_FINDING_AREA_OUTLIVED: u32 = 2;
/// `DEMUXBUF_RESCHEDULE` was reported done in an earlier iteration, and wake did not follow.
pub const DEMUXBUF_FINDING_NOT_WOKEN: u32 = 3;
/// `DEMUXBUF_CANNOT_FIT` was reported done in an earlier iteration, and nothing followed.
pub const DEMUXBUF_FINDING_MISFIT_LEFT: u32 = 4;
/// A receive in flight was to be cancelled a second ago or more, and its outcome was not reported.
pub const DEMUXBUF_FINDING_OUTCOME_MISSING: u32 = 5;
/// A receive in flight has brought nothing for a second or more, and holds a buffer that requests wait for.
pub const DEMUXBUF_FINDING_RECEIVE_IDLE: u32 = 6;
/// A receiver was reported in each of `count` iterations, and received nothing.
pub const DEMUXBUF_FINDING_SPINNING: u32 = 7;
/// A notice was not picked up with `demuxbuf_pool_poll_notice`.
pub const DEMUXBUF_FINDING_NOTICE_LEFT: u32 = 8;
/// The clock was not advanced in this iteration.
pub const DEMUXBUF_FINDING_CLOCK_STOPPED: u32 = 9;
/// The host slept beyond `demuxbuf_pool_poll_timeout`, by more than an eighth of `frame_grace_ns`.
pub const DEMUXBUF_FINDING_OVERSLEPT: u32 = 10;
/// Delivered bytes are in place, and are not to be decoded now: you blocked before you reported on them. No other
/// receiver is granted meanwhile.
pub const DEMUXBUF_FINDING_IN_PLACE_LEFT: u32 = 11;
/// `DEMUXBUF_CANNOT_FIT` is pending, and nothing of the frame was received that a report without a need could be about.
/// To pass the frame on in pieces, report what its next piece needs, which is its header if that was looked at.
pub const DEMUXBUF_FINDING_MISFIT_UNREAD: u32 = 12;

/// A mistake of the host, as an audit sees it.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_finding {
    /// `sizeof(demuxbuf_finding)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
    /// One of `DEMUXBUF_FINDING_*`.
    pub kind: u32,
    /// The receiver; 0 if it is about the pool.
    pub receiver: u64,
    /// What the host gave at attach, or with the request of its own that was granted; 0 if it is about the pool.
    pub token: u64,
    /// The time of the first audit in a row that saw it, in the host's nanoseconds.
    pub since_ns: u64,
    /// How long that was ago, in nanoseconds. 0: it began in this iteration. With `DEMUXBUF_FINDING_OVERSLEPT`: how
    /// long the host slept beyond the timeout.
    pub age_ns: u64,
    /// Mask of the `DEMUXBUF_*` actions that are undone.
    pub actions: u32,
    /// Requests that wait, or iterations in a row; 0 where nothing is counted.
    pub count: u32,
}

growable!(demuxbuf_finding, 48);

/// What the host left undone. Call it in each loop iteration, as the last thing before you sleep, until it returns
/// `DEMUXBUF_STATUS_NONE`, and print each finding with `demuxbuf_finding_str`. `now_ns` is the time that you would
/// advance the clock to.
///
/// It finds actions that are undone, memory that is held across iterations, and other mistakes
/// (`DEMUXBUF_FINDING_*`); some of them only if they last from one audit to the next. So sleep for a second at most
/// where you use it. A host without one place where it sleeps prints only what has an `age_ns`.
///
/// For debugging: a round looks at each receiver, and the first event for each of them after it takes the slow path.
/// The pool's configuration asks for it (`audit`).
/// Thread rule: the pool's thread; another is refused.
/// Returns `DEMUXBUF_OK` and writes `*finding`; `DEMUXBUF_STATUS_NONE`; `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`, `DEMUXBUF_ERR_AUDIT_OFF`, and
/// nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_poll_audit(
    pool: *mut demuxbuf_pool,
    now_ns: u64,
    finding: *mut demuxbuf_finding,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let finding = match unsafe { StructOut::new(finding) } {
        Ok(finding) => finding,
        Err(status) => return status,
    };
    match pool.with_own(|pool| pool.poll_audit(now_ns).map_err(status_of)) {
        Ok(Some(found)) => {
            finding.write(demuxbuf_finding {
                struct_size: size_of::<demuxbuf_finding>() as u32,
                kind: found.kind as u32,
                receiver: found.receiver.map_or(0, ReceiverId::to_bits),
                token: found.token,
                since_ns: found.since_ns,
                age_ns: found.age_ns,
                actions: found.actions.bits(),
                count: found.count,
            });
            DEMUXBUF_OK
        }
        Ok(None) => DEMUXBUF_STATUS_NONE,
        Err(status) => status,
    }
}

/// Writes a finding as one line that names the mistake and what to do, for logs.
///
/// `bytes` is the room at `buffer`. The text is cut there, always with a closing 0. `buffer` may be NULL.
/// Thread rule: any thread, any time. Returns the room that the whole text needs, with its closing 0; 0 if `finding` is
/// NULL or was not written by `demuxbuf_pool_poll_audit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_finding_str(
    finding: *const demuxbuf_finding,
    buffer: *mut c_char,
    bytes: size_t,
) -> size_t {
    guarded_or(0, || {
        // SAFETY: as the module asks.
        let Some(found) = unsafe { read_struct(finding, demuxbuf_finding::default()) }.ok().and_then(to_rust) else {
            return 0;
        };
        // SAFETY: as the module asks.
        let mut text = unsafe { Text::new(buffer, bytes) };
        // Writing a text never fails.
        let _ = found.write_line(&mut text, &ActionNames(found.actions.bits()));
        text.needed()
    })
}

fn to_rust(finding: demuxbuf_finding) -> Option<Finding> {
    let kind = FindingKind::ALL.into_iter().find(|&kind| kind as u32 == finding.kind)?;
    let receiver = (finding.receiver != 0).then_some(ReceiverId::from_bits(finding.receiver));
    let mut found = Finding::new(kind, receiver, finding.token);
    found.actions = Actions::from_bits(finding.actions)?;
    (found.since_ns, found.age_ns, found.count) = (finding.since_ns, finding.age_ns, finding.count);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_c_are_those_of_rust() {
        let numbers = [
            (FindingKind::ActionUndone, DEMUXBUF_FINDING_ACTION_UNDONE),
            (FindingKind::AreaOutlived, DEMUXBUF_FINDING_AREA_OUTLIVED),
            (FindingKind::NotWoken, DEMUXBUF_FINDING_NOT_WOKEN),
            (FindingKind::MisfitLeft, DEMUXBUF_FINDING_MISFIT_LEFT),
            (FindingKind::OutcomeMissing, DEMUXBUF_FINDING_OUTCOME_MISSING),
            (FindingKind::ReceiveIdle, DEMUXBUF_FINDING_RECEIVE_IDLE),
            (FindingKind::Spinning, DEMUXBUF_FINDING_SPINNING),
            (FindingKind::NoticeLeft, DEMUXBUF_FINDING_NOTICE_LEFT),
            (FindingKind::ClockStopped, DEMUXBUF_FINDING_CLOCK_STOPPED),
            (FindingKind::Overslept, DEMUXBUF_FINDING_OVERSLEPT),
            (FindingKind::InPlaceLeft, DEMUXBUF_FINDING_IN_PLACE_LEFT),
            (FindingKind::MisfitUnread, DEMUXBUF_FINDING_MISFIT_UNREAD),
        ];
        for (kind, number) in numbers {
            assert_eq!(kind as u32, number);
        }
        assert_eq!(numbers.map(|(kind, _)| kind), FindingKind::ALL);
    }
}
