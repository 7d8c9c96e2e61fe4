//! The waits that a shard queues itself: for each class that has some, one wait in the common queue, the *placeholder*,
//! stands for all of them.

use super::cache::{Cache, Holder};
use super::stats::ShownWaits;
use crate::alloc_util::reserve;
use crate::scheduler::list::{Linked, Links, List, NIL};
use crate::scheduler::{CLASSES_MAX, ConfigError, Generation, Grant, INDEX_MAX, LeaseId, Request, WaitId};
use alloc::vec::Vec;

/// The most waits that all shards together can queue themselves: what is reserved, but not touched before it is needed.
const ROWS_MAX: u32 = 1 << 20;

/// Stamps of one call that took the lock of all, so that waits of a shard are in order until the next. When a shard has
/// used them up, it takes that lock.
pub(super) const STAMPS: u64 = 1 << 10;

/// Whether a wait with the first stamp was there before one with the other. Stamps may begin anew: of two that wait at
/// the same time, the later one is less than half of all behind.
pub(super) fn is_earlier(stamp: u64, than: u64) -> bool {
    (stamp.wrapping_sub(than) as i64) < 0
}

/// How a wait stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Unused,
    Queued,
    Assigned {
        buffer: u32,
    },
    /// It is in the common queue itself by now, at this index, for it was exported.
    Moved {
        index: u32,
    },
}

/// On a cache line of its own.
#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnWait {
    pub(super) token: u64,
    pub(super) since_ns: u64,
    /// A wait with an earlier one was there before.
    pub(super) stamp: u64,
    /// Queued: grants that it could have had, before it. Assigned: those that bypassed it.
    pub(super) grants: u64,
    links: Links,
    generation: Generation,
    pub(super) class: u8,
    pub(super) has_deadline: bool,
    pub(super) holder: Holder,
    pub(super) phase: Phase,
}

impl Linked for OwnWait {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// Where a wait is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// In the common queue, at this index.
    Common(u32),
    Own {
        shard: u32,
        row: u32,
    },
}

/// What a poll found.
pub(super) enum PickedUp {
    Grant(Grant),
    Nothing,
    /// There may be a grant of a wait that was in the common queue.
    LookAtCommon,
}

/// Where waits of shards have their numbers: behind those of the common queue, as many for each shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    common: u32,
    rows: u32,
}

impl Numbers {
    pub(super) fn new(waiters_max: u32, shards: u32) -> Numbers {
        let numbers_left = (INDEX_MAX - waiters_max) / shards;
        Numbers { common: waiters_max, rows: waiters_max.min(ROWS_MAX / shards).min(numbers_left) }
    }

    /// The shard and the row of a number, unless it is one of the common queue.
    pub(super) fn row_of(self, wait: WaitId) -> Option<(u32, u32)> {
        let behind = wait.index().checked_sub(self.common)?;
        Some((behind.checked_div(self.rows)?, behind.checked_rem(self.rows)?))
    }
}

/// What one shard queues, and which of it has a buffer.
#[derive(Debug)]
pub(super) struct OwnWaits {
    /// Not a wait, but under the same lock: a release has one of both to look at.
    pub(super) cache: Cache,
    /// Touched in the order of first use.
    table: Vec<OwnWait>,
    max: u32,
    /// The number of the first row.
    first: u32,
    tag: u8,
    unused: u32,
    queues: [List; CLASSES_MAX],
    pub(super) waiting: u32,
    last_stamp: u64,
    /// Those that have a buffer and were not picked up.
    grants: List,
    /// Waits that it may begin.
    pub(super) rights: u32,
    /// Buffers that it gave to its own waits since it left one to the common queue.
    pub(super) run: u32,
    /// By class: exchanges that waits of it could have had, and that the common queue does not know of.
    pub(super) exchanged: [u64; CLASSES_MAX],
    /// The shard may have grants of waits that were in the common queue.
    pub(super) has_common_grants: bool,
}

impl OwnWaits {
    pub(super) fn new(numbers: Numbers, shard: u32, tag: u8) -> Result<OwnWaits, ConfigError> {
        Ok(OwnWaits {
            cache: Cache::default(),
            table: reserve("waiters_max", numbers.rows)?,
            max: numbers.rows,
            first: numbers.common + shard * numbers.rows,
            tag,
            unused: NIL,
            queues: [List::EMPTY; CLASSES_MAX],
            waiting: 0,
            last_stamp: 0,
            grants: List::EMPTY,
            rights: 0,
            run: 0,
            exchanged: [0; CLASSES_MAX],
            has_common_grants: false,
        })
    }

    pub(super) fn has_room(&self) -> bool {
        self.unused != NIL || (self.table.len() as u32) < self.max
    }

    pub(super) fn is_waiting(&self, class: u8) -> bool {
        !self.queues[usize::from(class)].is_empty()
    }

    /// Queues a request. The caller asked for room and a right.
    #[inline(always)]
    pub(super) fn queue(&mut self, request: &Request, holder: Holder, [since_ns, stamp, grants]: [u64; 3]) -> WaitId {
        let Request { token, class, has_deadline, .. } = *request;
        self.rights -= 1;
        let stamp = self.next_stamp(stamp);
        let index = if self.unused == NIL { self.table.len() as u32 } else { self.unused };
        let generation =
            self.table.get(index as usize).map_or(Generation::first(self.tag), |row: &OwnWait| row.generation);
        let (links, phase) = (Links::NONE, Phase::Queued);
        let wait = OwnWait { token, since_ns, stamp, grants, links, generation, class, has_deadline, holder, phase };
        if self.unused == NIL {
            // Inside what was reserved at start.
            self.table.push(wait);
        } else {
            self.unused = self.table[index as usize].links.next;
            self.table[index as usize] = wait;
        }
        self.enter_queue(class, index);
        self.wait_at(index)
    }

    /// The stamp of the next wait, after a call that had this one.
    #[inline(always)]
    fn next_stamp(&mut self, of_call: u64) -> u64 {
        let next = self.last_stamp.wrapping_add(1);
        self.last_stamp = if next.wrapping_sub(of_call) < STAMPS { next } else { of_call };
        self.last_stamp
    }

    /// Whether one more wait has a stamp of its own, after a call that had this one.
    #[inline(always)]
    pub(super) fn has_stamp(&self, of_call: u64) -> bool {
        self.last_stamp.wrapping_sub(of_call) != STAMPS - 1
    }

    #[inline(always)]
    fn enter_queue(&mut self, class: u8, index: u32) {
        self.queues[usize::from(class)].push_back(&mut self.table, index);
        self.waiting += 1;
    }

    /// The stamp of the first wait of a class.
    pub(super) fn first_stamp(&self, class: u8) -> Option<u64> {
        self.queues[usize::from(class)].first().map(|index| self.table[index as usize].stamp)
    }

    /// Whether a wait is queued, and the first of its class.
    pub(super) fn is_first(&self, row: u32) -> bool {
        let OwnWait { phase, class, .. } = self.table[row as usize];
        phase == Phase::Queued && self.queues[usize::from(class)].first() == Some(row)
    }

    /// The class that comes first, if more than one of it wait: the placeholder still stands for one after an exchange.
    #[inline(always)]
    pub(super) fn exchange_class(&self) -> Option<u8> {
        let first = (0..).zip(&self.queues).find(|(_, queue)| !queue.is_empty());
        first.filter(|(_, queue)| queue.len > 1).map(|(class, _)| class)
    }

    /// Gives a buffer to the first wait of a class, after this many grants that it could have had. Returns how many of
    /// them bypassed it, or `None` if none waits.
    #[inline(always)]
    pub(super) fn assign_first(&mut self, class: u8, buffer: u32, grants: u64) -> Option<u64> {
        let queue = &mut self.queues[usize::from(class)];
        let index = queue.first()?;
        queue.unlink(&mut self.table, index);
        self.waiting -= 1;
        let wait = &mut self.table[index as usize];
        wait.phase = Phase::Assigned { buffer };
        wait.grants = grants.saturating_sub(wait.grants);
        let bypasses = wait.grants;
        self.grants.push_back(&mut self.table, index);
        Some(bypasses)
    }

    pub(super) fn first_grant(&self) -> Option<WaitId> {
        self.grants.first().map(|index| self.wait_at(index))
    }

    /// Ends the first grant; returns it with its buffer.
    #[inline(always)]
    pub(super) fn pick_up(&mut self) -> Option<(u32, Holder, Grant)> {
        let index = self.grants.first()?;
        let OwnWait { token, class, has_deadline, holder, phase, .. } = self.table[index as usize];
        let Phase::Assigned { buffer } = phase else { unreachable!("what is among the grants is assigned") };
        let wait = self.wait_at(index);
        self.grants.unlink(&mut self.table, index);
        self.rights += 1;
        self.free(index);
        Some((buffer, holder, Grant { wait, token, class, lease: LeaseId::from_bits(0), has_deadline }))
    }

    /// The class and the buffer of the first grant.
    pub(super) fn first_assigned(&self) -> Option<(u8, u32)> {
        let wait = self.table[self.grants.first()? as usize];
        let Phase::Assigned { buffer } = wait.phase else { unreachable!("what is among the grants is assigned") };
        Some((wait.class, buffer))
    }

    /// The wait of the first grant, which there is, has lost its buffer: it is queued behind all others of its class.
    pub(super) fn queue_again(&mut self, since_ns: u64, stamp: u64, grants: u64) {
        let index = self.grants.first().expect("it was seen");
        let stamp = self.next_stamp(stamp);
        let wait = &mut self.table[index as usize];
        (wait.phase, wait.since_ns, wait.stamp, wait.grants) = (Phase::Queued, since_ns, stamp, grants);
        let class = wait.class;
        self.grants.unlink(&mut self.table, index);
        self.enter_queue(class, index);
    }

    /// The wait in a row, if it is this one.
    pub(super) fn find(&self, row: u32, wait: WaitId) -> Option<&OwnWait> {
        let found = self.table.get(row as usize)?;
        (found.generation == wait.generation() && found.phase != Phase::Unused).then_some(found)
    }

    /// Ends a wait; what it was is returned.
    pub(super) fn end(&mut self, row: u32) -> OwnWait {
        let ended = self.leave(row);
        self.rights += 1;
        self.free(row);
        ended
    }

    /// A wait that left its list is in the common queue from now on. Its right goes with it.
    pub(super) fn set_moved(&mut self, row: u32, index: u32) {
        self.table[row as usize].phase = Phase::Moved { index };
    }

    /// A wait that was moved has ended.
    pub(super) fn end_moved(&mut self, row: u32) {
        self.free(row);
    }

    /// Any wait that is not moved, and its row.
    pub(super) fn any(&self) -> Option<(u32, WaitId)> {
        let row = self.grants.first().or_else(|| self.queues.iter().find_map(List::first))?;
        Some((row, self.wait_at(row)))
    }

    /// Takes a wait out of the list it is in; what it was is returned.
    pub(super) fn leave(&mut self, row: u32) -> OwnWait {
        let wait = self.table[row as usize];
        match wait.phase {
            Phase::Queued => {
                self.queues[usize::from(wait.class)].unlink(&mut self.table, row);
                self.waiting -= 1;
            }
            Phase::Assigned { .. } => self.grants.unlink(&mut self.table, row),
            Phase::Unused | Phase::Moved { .. } => unreachable!("only a wait ends"),
        }
        wait
    }

    #[inline(always)]
    fn free(&mut self, row: u32) {
        let wait = &mut self.table[row as usize];
        wait.phase = Phase::Unused;
        wait.generation = wait.generation.next();
        wait.links.next = self.unused;
        self.unused = row;
    }

    fn wait_at(&self, row: u32) -> WaitId {
        WaitId::new(self.first + row, self.table[row as usize].generation)
    }

    /// Shows how many wait, after a wait of this class changed.
    #[inline(always)]
    pub(super) fn show(&self, shown: &ShownWaits, class: u8) {
        self.show_waiting(shown, class);
        self.show_assigned(shown);
    }

    /// As `show`, if none was assigned or picked up.
    #[inline(always)]
    pub(super) fn show_waiting(&self, shown: &ShownWaits, class: u8) {
        self.show_queue(shown, class);
        shown.reach_peak(self.waiting);
    }

    /// As `show_waiting`, while a wait counts as queued that is served already.
    #[inline(always)]
    pub(super) fn show_queue(&self, shown: &ShownWaits, class: u8) {
        shown.waiting_by_class[usize::from(class)].set(self.queues[usize::from(class)].len.into());
    }

    #[inline(always)]
    pub(super) fn show_assigned(&self, shown: &ShownWaits) {
        shown.assigned.set(self.grants.len.into());
    }

    /// For checks.
    pub(super) fn iter(&self) -> impl Iterator<Item = &OwnWait> {
        self.table.iter().filter(|wait| matches!(wait.phase, Phase::Queued | Phase::Assigned { .. }))
    }

    /// Whether the lists have what is in the table.
    pub(super) fn are_lists_sound(&self, shown: &ShownWaits) -> bool {
        let queues = (0..).zip(&self.queues).all(|(class, queue)| {
            let belongs = |_, wait: &OwnWait| wait.phase == Phase::Queued && wait.class == class;
            queue.is_sound(&self.table, belongs) && shown.waiting_by_class[usize::from(class)].get() == queue.len.into()
        });
        let assigned = |_, wait: &OwnWait| matches!(wait.phase, Phase::Assigned { .. });
        let listed = self.queues.iter().map(|queue| queue.len).sum::<u32>();
        queues
            && listed == self.waiting
            && self.grants.is_sound(&self.table, assigned)
            && shown.assigned.get() == self.grants.len.into()
            && (listed + self.grants.len) as usize == self.iter().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bits above are of the layers that use the numbers.
    #[test]
    fn numbers_stay_below_the_most_entries_of_a_table() {
        for (waiters_max, shards) in [(0, 1), (3, 2), (1 << 20, 1), (1 << 28, 1024), (INDEX_MAX - 5, 3), (INDEX_MAX, 7)]
        {
            let numbers = Numbers::new(waiters_max, shards);
            let end = u64::from(numbers.common) + u64::from(numbers.rows) * u64::from(shards);
            assert!(end <= u64::from(INDEX_MAX), "{numbers:?}");
            let of = |number: u32| numbers.row_of(WaitId::new(number, Generation::first(0)));
            assert_eq!(of(waiters_max.saturating_sub(1)).filter(|_| waiters_max > 0), None);
            if numbers.rows > 0 {
                let last = waiters_max + numbers.rows * shards - 1;
                assert_eq!((of(waiters_max), of(last)), (Some((0, 0)), Some((shards - 1, numbers.rows - 1))));
            }
        }
    }
}
