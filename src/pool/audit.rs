//! The audit: what the host left undone, found by a walk over the receivers before it sleeps.
//!
//! Nothing is recorded while events are reported. An audit remembers in a table of its own what it saw, and marks each
//! connection; an event takes the mark away ([`SinceSeen`]). So the next audit knows what is as it was.

use super::own_actions::host_actions;
use super::{BufferSource, Finding, FindingKind, Pool, PoolConfig, PoolError, ReceiverId};
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use crate::connection::{Action, Actions, Connection, Hold, Mode, SinceSeen};
use crate::scheduler::WaitId;
use alloc::vec::Vec;

/// Iterations in a row without a byte after which a receiver that is reported in each of them is named: far more than it
/// takes to receive one record of a layer above the socket in small pieces.
const SPINNING_MIN: u32 = 1_000;

/// How long something may last that an honest host cannot always end in the next iteration, in nanoseconds: what the system
/// or a peer has to do.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Parts of a lease that the host may sleep beyond `poll_timeout`.
const OVERSLEPT_PER_LEASE: u64 = 8;

/// What the audit remembers.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(crate) struct Audit {
    /// By row of the receiver, in the order of first use.
    seen: Vec<Seen>,
    /// The round that is going on: from a call to the one that returns `None`.
    round: Option<Round>,
    last: Last,
}

/// How the last audit saw a receiver.
#[derive(Clone, Copy, Debug)]
struct Seen {
    receiver: ReceiverId,
    since_ns: u64,
    actions: Actions,
    condition: Condition,
    /// Iterations in a row with events and without a byte.
    iterations: u16,
}

const _: () = assert!(size_of::<Seen>() <= 24);

/// In what way a receiver is not at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Condition {
    Rest,
    Undone,
    Scheduled,
    Misfit,
    TakenBack,
    InFlight,
}

/// One audit: its time, and where it goes on.
#[derive(Clone, Copy, Debug)]
struct Round {
    now_ns: u64,
    /// Requests that wait, and did at the last audit.
    waiting: u32,
    /// What is left of the findings about the pool.
    of_pool: [Option<Finding>; 4],
    row: u32,
}

/// How the pool was at the end of the last audit.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    now_ns: u64,
    advance_ns: Option<u64>,
    /// When the host was to advance the clock.
    timeout_ns: Option<u64>,
    waiting: u32,
    grants: u64,
    grant: Option<WaitId>,
    /// Since when each of the findings about the pool stands.
    clock_ns: Option<u64>,
    stuck_ns: Option<u64>,
    grant_ns: u64,
}

impl Audit {
    /// Reserves all that it will need, if the configuration asks for it.
    pub(super) fn new(config: &PoolConfig) -> Result<Option<Audit>, ConfigError> {
        if !config.audit {
            return Ok(None);
        }
        let seen = reserve("receivers_max", config.receivers_max)?;
        Ok(Some(Audit { seen, round: None, last: Last::default() }))
    }
}

impl<S: BufferSource> Pool<S> {
    /// What the host left undone. Call it until `None` in each iteration, as the last thing before you sleep, with the
    /// time that you would advance the clock to. It finds actions that are undone, memory that is held across iterations,
    /// and other mistakes ([`FindingKind`]); some of them are seen only if they last from one audit to the next. So sleep
    /// for a second at most where you use it.
    ///
    /// For debugging: a round looks at each receiver, and the first event for each of them after it is a slower one. Where
    /// [`PoolConfig::audit`] is not set it costs nothing.
    ///
    /// # Errors
    ///
    /// The configuration did not ask for an audit.
    pub fn poll_audit(&mut self, now_ns: u64) -> Result<Option<Finding>, PoolError> {
        let mut audit = self.audit.take().ok_or(PoolError::AuditOff)?;
        let found = self.audit_on(&mut audit, now_ns);
        self.audit = Some(audit);
        Ok(found)
    }

    fn audit_on(&mut self, audit: &mut Audit, now_ns: u64) -> Option<Finding> {
        let mut round = audit.round.take().unwrap_or_else(|| self.begin_round(&mut audit.last, now_ns));
        let mut found = round.of_pool.iter_mut().find_map(Option::take);
        while found.is_none() && round.row < self.table.rows() {
            found = self.look_at(round.row, &mut audit.seen, &round);
            round.row += 1;
        }
        if found.is_some() {
            audit.round = Some(round);
        } else {
            audit.last.timeout_ns = self.poll_timeout();
        }
        found
    }

    fn begin_round(&self, last: &mut Last, now_ns: u64) -> Round {
        let stats = self.source.stats();
        let grants = stats.granted_at_once + stats.granted_by_handoff;
        let waiting = stats.waiting.min(last.waiting);
        let advance_ns = self.source.last_advance_ns();
        let is_stopped = advance_ns == last.advance_ns && now_ns > last.now_ns;
        last.clock_ns = is_stopped.then(|| last.clock_ns.or(advance_ns).unwrap_or(now_ns));
        let is_stuck = waiting > 0 && grants == last.grants && self.config.scheduler.lease_ns.is_none();
        last.stuck_ns = is_stuck.then(|| last.stuck_ns.unwrap_or(last.now_ns));
        let grant = self.source.next_grant();
        let is_same_grant = grant.is_some() && grant == last.grant;
        last.grant_ns = if is_same_grant { last.grant_ns } else { now_ns };
        let of_pool = [
            last.clock_ns.map(|since_ns| Finding::of_pool(FindingKind::ClockStopped, since_ns, now_ns)),
            self.overslept(last, advance_ns, now_ns),
            // Of a shard, another thread may have assigned it after the host looked, and signals this one.
            grant.filter(|_| is_same_grant || !S::IS_SHARED).map(|wait| self.grant_left(wait, last.grant_ns, now_ns)),
            last.stuck_ns.filter(|&since_ns| now_ns.saturating_sub(since_ns) >= PATIENCE_NS).map(|since_ns| Finding {
                count: stats.waiting,
                ..Finding::of_pool(FindingKind::NoDeadline, since_ns, now_ns)
            }),
        ];
        *last = Last { now_ns, advance_ns, waiting: stats.waiting, grants, grant, ..*last };
        Round { now_ns, waiting, of_pool, row: 0 }
    }

    fn overslept(&self, last: &Last, advance_ns: Option<u64>, now_ns: u64) -> Option<Finding> {
        let due_ns = last.timeout_ns?.max(last.advance_ns?);
        let slack_ns = self.config.scheduler.lease_ns? / OVERSLEPT_PER_LEASE;
        let age_ns = advance_ns?.checked_sub(due_ns).filter(|&late_ns| late_ns > slack_ns)?;
        Some(Finding { age_ns, ..Finding::of_pool(FindingKind::Overslept, due_ns, now_ns) })
    }

    /// A grant that nothing picked up; a receiver's has its row as the token.
    fn grant_left(&self, wait: WaitId, since_ns: u64, now_ns: u64) -> Finding {
        let found = Finding::of_pool(FindingKind::NoticeLeft, since_ns, now_ns);
        match self.source.describe_wait(wait) {
            Ok(wait) if wait.has_deadline => {
                let row = wait.token as u32;
                Finding { receiver: Some(self.table.id(row)), token: self.table.token(row), ..found }
            }
            Ok(wait) => Finding { token: wait.token, ..found },
            Err(_) => found,
        }
    }

    fn look_at(&mut self, row: u32, seen: &mut Vec<Seen>, round: &Round) -> Option<Finding> {
        let receiver = self.table.id(row);
        let before = seen.get(row as usize).copied().filter(|before| before.receiver == receiver);
        if !self.table.connection(row).is_attached() {
            return None;
        }
        let since = self.table.connection_mut(row).mark_seen();
        let connection = self.table.connection(row);
        let actions = expected_actions(connection);
        let condition = Condition::of(connection, actions);
        let now = Seen::next(before, since, receiver, condition, actions, round.now_ns);
        store(seen, row, now);
        let (kind, count) = now.kind(connection, round)?;
        let age_ns = round.now_ns.saturating_sub(now.since_ns);
        let (receiver, token) = (Some(receiver), self.table.token(row));
        Some(Finding { kind, receiver, token, actions, since_ns: now.since_ns, age_ns, count })
    }
}

/// What an honest host does before it sleeps. A socket that was registered once, edge-triggered, may stay registered.
fn expected_actions(connection: &Connection) -> Actions {
    let actions = host_actions(connection.pending());
    if connection.policy().mode == Mode::Edge { actions.without(Action::StopRecv.into()) } else { actions }
}

/// Inside what was reserved: as many rows as receivers.
fn store(seen: &mut Vec<Seen>, row: u32, now: Seen) {
    match seen.get_mut(row as usize) {
        Some(place) => *place = now,
        None => seen.resize(row as usize + 1, now),
    }
}

impl Finding {
    fn of_pool(kind: FindingKind, since_ns: u64, now_ns: u64) -> Finding {
        let age_ns = now_ns.saturating_sub(since_ns);
        Finding { since_ns, age_ns, ..Finding::new(kind, None, 0) }
    }
}

impl Condition {
    fn of(connection: &Connection, actions: Actions) -> Condition {
        if !actions.is_empty() {
            Condition::Undone
        } else if connection.awaits_wake() {
            Condition::Scheduled
        } else if connection.is_misfit_left() {
            Condition::Misfit
        } else if connection.is_taken_back() {
            Condition::TakenBack
        } else if connection.is_in_flight() && connection.hold() == Hold::Buffer && connection.buffered_bytes() == 0 {
            Condition::InFlight
        } else {
            Condition::Rest
        }
    }
}

impl Seen {
    /// How a receiver is seen now, after it was seen as `before`.
    fn next(
        before: Option<Seen>,
        since: SinceSeen,
        receiver: ReceiverId,
        condition: Condition,
        actions: Actions,
        now_ns: u64,
    ) -> Seen {
        let fresh = Seen { receiver, since_ns: now_ns, actions, condition, iterations: 0 };
        match (before, since) {
            (Some(before), SinceSeen::Nothing) => {
                let is_same = before.condition == condition
                    && (actions.is_empty() || !actions.intersection(before.actions).is_empty());
                Seen { since_ns: if is_same { before.since_ns } else { now_ns }, ..fresh }
            }
            (Some(before), SinceSeen::NoBytes) => {
                let is_row = before.iterations > 0 && [before.condition, condition] == [Condition::Rest; 2];
                let since_ns = if is_row { before.since_ns } else { now_ns };
                Seen { since_ns, iterations: before.iterations.saturating_add(1), ..fresh }
            }
            (None, _) | (_, SinceSeen::Bytes) => fresh,
        }
    }

    /// The mistake, if it is one, and how many there are of what it counts.
    fn kind(&self, connection: &Connection, round: &Round) -> Option<(FindingKind, u32)> {
        let age_ns = round.now_ns.saturating_sub(self.since_ns);
        let is_old = age_ns > 0;
        let if_old = |kind| is_old.then_some((kind, 0));
        let if_overdue = |kind, count| (age_ns >= PATIENCE_NS).then_some((kind, count));
        match self.condition {
            Condition::Undone => self.undone(connection, is_old, round),
            Condition::Scheduled => if_old(FindingKind::NotWoken),
            Condition::Misfit => if_old(FindingKind::MisfitLeft),
            Condition::TakenBack => if_overdue(FindingKind::OutcomeMissing, 0),
            Condition::InFlight if round.waiting > 0 => if_overdue(FindingKind::ReceiveIdle, round.waiting),
            Condition::Rest if u32::from(self.iterations) >= SPINNING_MIN => {
                Some((FindingKind::Spinning, self.iterations.into()))
            }
            Condition::InFlight | Condition::Rest => None,
        }
    }

    fn undone(&self, connection: &Connection, is_old: bool, round: &Round) -> Option<(FindingKind, u32)> {
        let has_area = self.actions.has(Action::Recv) || self.actions.has(Action::Decode);
        // The poller reports it again, so the host may come back to it then; but it holds a buffer.
        let is_reported_again =
            self.actions == Action::Recv.into() && connection.is_armed() && connection.policy().mode == Mode::Level;
        match (is_old && has_area, is_reported_again) {
            (true, true) if round.waiting == 0 => None,
            (true, _) => Some((FindingKind::AreaOutlived, 0)),
            (false, true) => None,
            (false, false) => Some((FindingKind::ActionUndone, 0)),
        }
    }
}
