//! What an audit of the pool remembers in a connection: one flag, which is set by the audit alone. Events clear it
//! beside flags that they clear anyway, so that it costs nothing where there is no audit.

use super::conditions::Conditions;
use super::{Connection, flag};

/// What happened to a connection since the audit saw it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SinceSeen {
    /// No iteration began for it, no byte was received and none consumed.
    Nothing,
    /// Something, but no byte was received in the last iteration of its own.
    NoBytes,
    /// Bytes were received.
    Bytes,
}

impl Connection {
    /// The audit sees it; returns what happened since the last time.
    pub(crate) fn mark_seen(&mut self) -> SinceSeen {
        let since = match (self.has(flag::QUIET), self.reads) {
            (true, _) => SinceSeen::Nothing,
            (false, 0) => SinceSeen::NoBytes,
            (false, _) => SinceSeen::Bytes,
        };
        self.set(flag::QUIET);
        since
    }

    /// Whether `Reschedule` was done and `Wake` is still to be reported.
    pub(crate) fn awaits_wake(&self) -> bool {
        self.is_open() && self.has(flag::SCHEDULED) && Conditions::of(self).next_iteration
    }

    /// Whether `CannotFit` was done and the frame at the front still cannot fit.
    pub(crate) fn is_misfit_left(&self) -> bool {
        self.is_open() && self.has(flag::MISFIT_SEEN) && self.is_misfit() && self.blocked == 0
    }

    /// Whether the outcome of a receive is still to be reported that the host was asked to cancel.
    pub(crate) fn is_taken_back(&self) -> bool {
        self.is_in_flight() && self.has(flag::TAKEN_BACK)
    }
}
