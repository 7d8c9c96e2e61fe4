//! The audit: what the host left undone, found by a walk over the receivers before it sleeps.
//!
//! Nothing is recorded while events are reported. An audit remembers in a table of its own what it saw, and marks each
//! connection; an event takes the mark away ([`SinceSeen`]). So the next audit knows what is as it was.

use super::{Finding, FindingKind, ReceiverId, Table};
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use crate::connection::{Action, Actions, Connection, Hold, Mode, SinceSeen};
use crate::scheduler::WaitId;
use alloc::vec::Vec;

/// Iterations in a row without a byte after which a receiver that is reported in each of them is named: far more than
/// it takes to receive one record of a layer above the socket in small pieces.
const SPINNING_MIN: u32 = 1_000;

/// How long something may last that an honest host cannot always end in the next iteration, in nanoseconds: what the
/// system or a peer has to do.
const PATIENCE_NS: u64 = 1_000_000_000;

/// A pool, as an audit looks at it.
pub(crate) trait Audited {
    fn table(&self) -> &Table;

    fn table_mut(&mut self) -> &mut Table;

    fn state(&self) -> PoolState;

    /// When the host is to advance the clock.
    fn timeout_ns(&self) -> Option<u64>;

    /// The actions of a receiver that are undone, of which an earlier audit saw these, if nothing happened to it since.
    fn undone_actions(&self, row: u32, before: Actions) -> Actions;

    /// Whether `Reschedule` was done and `Wake` is still to be reported.
    fn awaits_wake(&self, row: u32) -> bool;

    /// Whether `CannotFit` was done and the frame at the front still cannot fit.
    fn is_misfit_left(&self, row: u32) -> bool;

    /// Whether bytes of it are in the host's memory.
    fn has_in_place(&self, row: u32) -> bool;

    /// Whether the poller reports once more what these undone actions are about.
    fn is_reported_again(&self, row: u32, actions: Actions) -> bool;
}

/// How a pool is before its host sleeps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PoolState {
    /// The host's time at the last advance of the clock.
    pub(crate) advance_ns: Option<u64>,
    /// How long the host may sleep beyond `poll_timeout`, in nanoseconds; `None` for any time.
    pub(crate) slack_ns: Option<u64>,
    /// Requests that wait.
    pub(crate) waiting: u32,
    /// The next that `poll_notice` would bring.
    pub(crate) notice: Option<LeftNotice>,
    /// Another thread may have left the notice after the host looked.
    pub(crate) is_shared: bool,
}

/// What `poll_notice` would bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftNotice {
    pub(crate) of: NoticeOf,
    /// The receiver, if it is about one.
    pub(crate) receiver: Option<ReceiverId>,
    /// That of the receiver or of the request; 0 if it is not known before.
    pub(crate) token: u64,
}

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoticeOf {
    /// A request of the host's own that was granted.
    Grant(WaitId),
    Receiver,
    /// A lease that is held for too long.
    Overdue,
    /// What the host waits for.
    Awaited,
}

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
    MisfitUnread,
    TakenBack,
    InFlight,
    InPlace,
}

/// One audit: its time, and where it goes on.
#[derive(Clone, Copy, Debug)]
struct Round {
    now_ns: u64,
    /// Requests that wait, and did at the last audit.
    waiting: u32,
    /// What is left of the findings about the pool.
    of_pool: [Option<Finding>; 3],
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
    notice: Option<LeftNotice>,
    /// Since when each of the findings about the pool stands.
    clock_ns: Option<u64>,
    notice_ns: u64,
}

impl Audit {
    /// Reserves all that it will need, if it is on.
    pub(crate) fn new(is_on: bool, receivers_max: u32) -> Result<Option<Audit>, ConfigError> {
        if !is_on {
            return Ok(None);
        }
        let seen = reserve("receivers_max", receivers_max)?;
        Ok(Some(Audit { seen, round: None, last: Last::default() }))
    }

    /// The next finding of the round, `None` at its end.
    pub(crate) fn poll(&mut self, pool: &mut impl Audited, now_ns: u64) -> Option<Finding> {
        let mut round = self.round.take().unwrap_or_else(|| Round::begin(&pool.state(), &mut self.last, now_ns));
        let mut found = round.of_pool.iter_mut().find_map(Option::take);
        while found.is_none() && round.row < pool.table().rows() {
            found = self.look_at(pool, round.row, &round);
            round.row += 1;
        }
        if found.is_some() {
            self.round = Some(round);
        } else {
            self.last.timeout_ns = pool.timeout_ns();
        }
        found
    }

    fn look_at(&mut self, pool: &mut impl Audited, row: u32, round: &Round) -> Option<Finding> {
        let receiver = pool.table().id(row);
        let before = self.seen.get(row as usize).copied().filter(|before| before.receiver == receiver);
        if !pool.table().connection(row).is_attached() {
            return None;
        }
        let since = pool.table_mut().connection_mut(row).mark_seen();
        let same = before.filter(|_| since == SinceSeen::Nothing).map_or(Actions::NONE, |before| before.actions);
        let actions = expected_actions(pool.table().connection(row), pool.undone_actions(row, same));
        let condition = Condition::of(pool, row, actions);
        let now = Seen::next(before, since, receiver, condition, actions, round.now_ns);
        store(&mut self.seen, row, now);
        let holds = pool.table().connection(row).hold() != Hold::None;
        let (kind, count) = now.kind(pool.is_reported_again(row, actions), holds, round)?;
        let age_ns = round.now_ns.saturating_sub(now.since_ns);
        let (receiver, token) = (Some(receiver), pool.table().token(row));
        Some(Finding { kind, receiver, token, actions, since_ns: now.since_ns, age_ns, count })
    }
}

impl Round {
    fn begin(state: &PoolState, last: &mut Last, now_ns: u64) -> Round {
        let &PoolState { advance_ns, notice, .. } = state;
        let waiting = state.waiting.min(last.waiting);
        let is_stopped = advance_ns == last.advance_ns && now_ns > last.now_ns;
        last.clock_ns = is_stopped.then(|| last.clock_ns.or(advance_ns).unwrap_or(now_ns));
        let is_same_notice = notice.is_some() && notice == last.notice;
        last.notice_ns = if is_same_notice { last.notice_ns } else { now_ns };
        let left = notice.filter(|_| is_same_notice || !state.is_shared);
        let of_pool = [
            last.clock_ns.map(|since_ns| Finding::of_pool(FindingKind::ClockStopped, since_ns, now_ns)),
            overslept(state, last, now_ns),
            left.map(|LeftNotice { receiver, token, .. }| Finding {
                receiver,
                token,
                ..Finding::of_pool(FindingKind::NoticeLeft, last.notice_ns, now_ns)
            }),
        ];
        *last = Last { now_ns, advance_ns, waiting: state.waiting, notice, ..*last };
        Round { now_ns, waiting, of_pool, row: 0 }
    }
}

fn overslept(state: &PoolState, last: &Last, now_ns: u64) -> Option<Finding> {
    let due_ns = last.timeout_ns?.max(last.advance_ns?);
    let slack_ns = state.slack_ns?;
    let age_ns = state.advance_ns?.checked_sub(due_ns).filter(|&late_ns| late_ns > slack_ns)?;
    Some(Finding { age_ns, ..Finding::of_pool(FindingKind::Overslept, due_ns, now_ns) })
}

/// What an honest host does of this before it sleeps. A socket that was registered once, edge-triggered, may stay
/// registered.
fn expected_actions(connection: &Connection, actions: Actions) -> Actions {
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
    fn of(pool: &impl Audited, row: u32, actions: Actions) -> Condition {
        let connection = pool.table().connection(row);
        if actions.has(Action::CannotFit) && connection.buffered_bytes() == 0 {
            Condition::MisfitUnread
        } else if !actions.is_empty() {
            Condition::Undone
        } else if pool.awaits_wake(row) {
            Condition::Scheduled
        } else if pool.is_misfit_left(row) {
            Condition::Misfit
        } else if pool.has_in_place(row) {
            Condition::InPlace
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
    fn kind(&self, is_reported_again: bool, holds: bool, round: &Round) -> Option<(FindingKind, u32)> {
        let age_ns = round.now_ns.saturating_sub(self.since_ns);
        let is_old = age_ns > 0;
        let if_old = |kind| is_old.then_some((kind, 0));
        let if_overdue = |kind, count| (age_ns >= PATIENCE_NS).then_some((kind, count));
        match self.condition {
            Condition::Undone => self.undone(is_reported_again, is_old && holds, round),
            Condition::Scheduled => if_old(FindingKind::NotWoken),
            Condition::Misfit => if_old(FindingKind::MisfitLeft),
            Condition::InPlace => Some((FindingKind::InPlaceLeft, 0)),
            Condition::MisfitUnread => Some((FindingKind::MisfitUnread, 0)),
            Condition::TakenBack => if_overdue(FindingKind::OutcomeMissing, 0),
            Condition::InFlight if round.waiting > 0 => if_overdue(FindingKind::ReceiveIdle, round.waiting),
            Condition::Rest if u32::from(self.iterations) >= SPINNING_MIN => {
                Some((FindingKind::Spinning, self.iterations.into()))
            }
            Condition::InFlight | Condition::Rest => None,
        }
    }

    fn undone(&self, is_reported_again: bool, has_held: bool, round: &Round) -> Option<(FindingKind, u32)> {
        let has_area = [Action::Recv, Action::Peek, Action::Decode].into_iter().any(|action| self.actions.has(action));
        // The poller reports it again, so the host may come back to it then; but it holds a buffer.
        match (has_held && has_area, is_reported_again) {
            (true, true) if round.waiting == 0 => None,
            (true, _) => Some((FindingKind::AreaOutlived, 0)),
            (false, true) => None,
            (false, false) => Some((FindingKind::ActionUndone, 0)),
        }
    }
}
