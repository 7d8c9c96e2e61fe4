//! Waits that stay with their shard. A buffer that a shard releases goes to one of its own waits, under a lock that
//! other threads seldom want, and now and then to the common queue, where a placeholder stands for them.
//!
//! A thread that holds both locks took the common one first.

use super::cache::Holder;
use super::homes::Kind;
use super::own_waits::{OwnWait, OwnWaits, Phase, PickedUp, Place, is_earlier};
use super::placeholders::{Placeholder, Seen};
use super::shard_state::ShardState;
use super::state::{Locked, Shared};
use super::sync::{Ordering, ShortLock};
use super::{EXCHANGES_MAX, SchedulerShard, SharedSchedulerError};
use crate::scheduler::{Grant, Outcome, Request, SchedulerError, WaitId, WaitInfo};

/// Waits that a shard may begin without the common lock, at most.
const RIGHTS_AT_ONCE: u32 = 16;

impl Shared {
    #[inline(always)]
    pub(super) fn own_waits(&self, shard: u32) -> &ShortLock<OwnWaits> {
        &self.shard_states[shard as usize].0.own_waits.0
    }

    /// The wait of a shard's own whose grant it picks up next.
    pub(super) fn first_own_grant(&self, shard: u32) -> Option<WaitId> {
        self.own_waits(shard).with(|own| own.first_grant())
    }

    /// Takes a right to begin a wait, from shards that do not use theirs if need be. `false` if all waits are in use.
    pub(super) fn has_rights(&self, state: &mut Locked) -> bool {
        if state.homes.rights == 0 {
            for shard in 0..self.shard_states.len() as u32 {
                state.homes.rights += self.own_waits(shard).with(|own| core::mem::take(&mut own.rights));
            }
        }
        state.homes.rights > 0
    }

    /// The first grant is that of a placeholder: it serves the first wait that this stands for. If more wait, it queues
    /// again, where the first of these belongs. Returns whether the shard is to be woken.
    pub(super) fn deliver(&self, state: &mut Locked, shard: u32, here: Option<u32>) -> bool {
        let info = state.scheduler.next_grant().and_then(|wait| state.scheduler.describe_wait(wait).ok());
        let WaitInfo { class, bypasses, .. } = info.expect("the caller has seen it");
        let lease = state.scheduler.poll_grant().expect("the caller has seen it").lease;
        let at = usize::from(class);
        let placeholder = state.placeholders.take(shard, class).expect("what is served was queued");
        self.end_asked(shard);
        let (is_woken, next) = self.own_waits(shard).with(|own| {
            let grants = placeholder.grants + bypasses + state.exchanged[at] + own.exchanged[at];
            let bypasses = own.assign_first(class, lease.index(), grants).expect("it stands for a wait");
            let shown = &self.shard_states[shard as usize].0.shown;
            shown.note_bypasses(bypasses);
            own.show(shown, class);
            (self.call(state.now_ns(), shard, here), own.first_stamp(class))
        });
        self.expect_pick_up(shard);
        if let Some(stamp) = next {
            self.queue_placeholder(state, shard, class, stamp);
        }
        is_woken
    }

    /// Queues the placeholder of a class where the wait with this stamp belongs.
    pub(super) fn queue_placeholder(&self, state: &mut Locked, shard: u32, class: u8, stamp: u64) {
        let grants = state.scheduler.grants_of(class);
        let wait = state.queue_in_order(&Request::new(class, 0), 0, stamp);
        state.set_placeholder(shard, class, wait, grants, stamp);
    }

    /// No wait of this class is left that the placeholder could stand for.
    pub(super) fn cancel_placeholder(&self, state: &mut Locked, shard: u32, class: u8) {
        let placeholder = state.placeholders.take(shard, class).expect("it stood for the wait");
        state.scheduler.cancel(placeholder.wait).expect("a placeholder waits");
    }

    /// Ends this wait of a shard, in this row; `false` if it is gone, for its thread picks up grants meanwhile.
    pub(super) fn end_own_wait(&self, state: &mut Locked, (shard, row): (u32, u32), wait: WaitId) -> bool {
        let ended = self.own_waits(shard).with(|own| {
            own.find(row, wait)?;
            let ended = own.end(row);
            own.show(&self.shard_states[shard as usize].0.shown, ended.class);
            Some((ended, !own.is_waiting(ended.class)))
        });
        let Some((ended, is_last)) = ended else { return false };
        match ended.phase {
            Phase::Assigned { buffer } => {
                state.take_back(buffer);
            }
            _ if is_last => self.cancel_placeholder(state, shard, ended.class),
            _ => {}
        }
        true
    }

    /// Takes the first grant of a shard that does not look, if one of these classes could use it: its wait queues
    /// again, behind all others. So could they any other of the shard's own, for none of them counts for a cap. `false`
    /// if nothing was taken.
    pub(super) fn take_own_grant(&self, state: &mut Locked, shard: u32, classes: u8) -> bool {
        let again = self.own_waits(shard).with(|own| {
            let of_use = |&(_, buffer): &(u8, u32)| state.scheduler.would_serve(buffer, classes);
            let (class, buffer) = own.first_assigned().filter(of_use)?;
            // What this serves was there before it.
            state.take_back(buffer);
            let grants = state.grants_before(class, &own.exchanged);
            own.queue_again(state.now_ns(), state.stamp, grants);
            let shown = &self.shard_states[shard as usize].0.shown;
            own.show_queue(shown, class);
            own.show_assigned(shown);
            Some(class)
        });
        let Some(class) = again else { return false };
        if state.placeholders.get(shard, class).is_none() {
            self.queue_placeholder(state, shard, class, state.stamp);
        }
        true
    }

    /// Counts what a shard queues now among the most that it ever queued.
    pub(super) fn note_own_peak(&self, shard: u32) {
        self.own_waits(shard).with(|own| self.shard_states[shard as usize].0.shown.reach_peak(own.waiting));
    }

    /// Where a wait is, if it is one. One that a shard queues may be picked up by its thread right after.
    pub(super) fn locate(&self, state: &Locked, wait: WaitId) -> Option<Place> {
        let Some((shard, row)) = self.numbers.row_of(wait) else {
            return state.find_common(wait).map(Place::Common);
        };
        if shard as usize >= self.shard_states.len() {
            return None;
        }
        match self.own_waits(shard).with(|own| own.find(row, wait).map(|found| found.phase))? {
            Phase::Moved { index } => Some(Place::Common(index)),
            _ => Some(Place::Own { shard, row }),
        }
    }

    /// How this wait of a shard stands, if it is in this row still.
    fn describe_own_wait(&self, state: &Locked, (shard, row): (u32, u32), wait: WaitId) -> Option<WaitInfo> {
        let own_waits = self.own_waits(shard);
        let (found, exchanged) = own_waits.with(|own| own.find(row, wait).map(|found| (*found, own.exchanged)))?;
        let OwnWait { token, since_ns, grants, class, has_deadline, phase, .. } = found;
        let is_assigned = phase != Phase::Queued;
        let bypasses = if is_assigned { grants } else { state.grants_before(class, &exchanged).saturating_sub(grants) };
        let age_ns = state.now_ns().saturating_sub(since_ns);
        Some(WaitInfo { token, class, age_ns, bypasses, has_deadline, is_assigned })
    }

    /// How a wait stands that was found there.
    pub(super) fn describe_at(
        &self,
        state: &Locked,
        place: Place,
        wait: WaitId,
    ) -> Result<WaitInfo, SharedSchedulerError> {
        let info = match place {
            Place::Common(index) => state.scheduler.describe_wait(state.scheduler.wait_at(index)).ok(),
            Place::Own { shard, row } => self.describe_own_wait(state, (shard, row), wait),
        };
        Ok(info.ok_or(SchedulerError::StaleWait)?)
    }

    /// A wait has ended that was a shard's own and had this number.
    pub(super) fn end_moved(&self, alias: Option<WaitId>) {
        if let Some((shard, row)) = alias.and_then(|alias| self.numbers.row_of(alias)) {
            self.own_waits(shard).with(|own| own.end_moved(row));
        }
    }

    /// A shard has the lock: a wait that begins from now on is behind those that are there. The common queue learns of
    /// the shard's exchanges.
    pub(super) fn stamp(&self, state: &mut Locked, of: &ShardState) {
        self.next_stamp(state);
        if of.has_exchanged.get() == 0 {
            return;
        }
        of.has_exchanged.set(0);
        of.own_waits.0.with(|own| {
            for (sum, exchanged) in state.exchanged.iter_mut().zip(&mut own.exchanged) {
                *sum += core::mem::take(exchanged);
            }
        });
    }
}

impl Locked {
    /// Queues a wait of the default tenant where one with this stamp belongs.
    fn queue_in_order(&mut self, request: &Request, since_ns: u64, stamp: u64) -> WaitId {
        let Locked { scheduler, homes, .. } = self;
        scheduler.queue_in_order(request, since_ns, |other| !is_earlier(stamp, homes.at(other).stamp))
    }

    /// A placeholder is queued, after this many grants that waits of its class could have had.
    fn set_placeholder(&mut self, shard: u32, class: u8, wait: WaitId, grants: u64, stamp: u64) {
        self.homes.enter_placeholder(wait, shard, stamp);
        self.placeholders.set(shard, class, Placeholder { wait, grants });
    }

    /// Grants that waits of a class could have had up to now, with these exchanges of a shard.
    pub(super) fn grants_before(&self, class: u8, exchanged: &[u64]) -> u64 {
        let at = usize::from(class);
        self.scheduler.grants_of(class) + self.exchanged[at] + exchanged[at]
    }
}

impl SchedulerShard {
    #[inline(always)]
    fn own_waits(&self) -> &ShortLock<OwnWaits> {
        self.shared.own_waits(self.index)
    }

    /// Whether the shard may queue this request itself: it counts for no tenant and no cap, which are counted in one
    /// place.
    fn is_own(&self, request: &Request) -> bool {
        self.shared.is_uncapped(request.class) && request.tenant.is_none() && request.size_index == 0
    }

    /// The time of the clock, if it were advanced to that of this shard.
    #[inline(always)]
    fn now_ns(&self, of: &ShardState) -> u64 {
        self.shared.clock.0.at(of.last_ns())
    }

    /// Gives a buffer that is this shard's to one of its own waits, without the common lock. `false` if it has to go to
    /// the common queue.
    ///
    /// What was seen of the common queue may be old by now: then all this came before the change.
    #[inline(always)]
    pub(super) fn exchange(&self, of: &ShardState, own: &mut OwnWaits, buffer: u32) -> bool {
        let ShardState { shown, is_called, .. } = of;
        if own.waiting < 2 {
            return false;
        }
        let seen = self.shared.queue.see();
        let Some(class) = own.exchange_class().filter(|&class| self.may_exchange(own, class, seen)) else {
            own.run = 0;
            return false;
        };
        let grants = self.shared.queue.grants.0[usize::from(class)].get() + own.exchanged[usize::from(class)];
        let bypasses = own.assign_first(class, buffer, grants).expect("more than one waits");
        own.exchanged[usize::from(class)] += 1;
        for other in class + 1..self.shared.classes {
            own.exchanged[usize::from(other)] += u64::from(self.shared.is_reserve_whole(other));
        }
        if of.has_exchanged.get() == 0 {
            of.has_exchanged.set(1);
        }
        shown.note_bypasses(bypasses);
        own.show(shown, class);
        // Not woken: it is awake.
        if !is_called.load(Ordering::Relaxed) || self.shared.has_deadlines() {
            self.shared.call(self.now_ns(of), self.index, Some(self.index));
            self.shared.expect_pick_up(self.index);
        }
        true
    }

    /// Whether a buffer may go to a wait of this class, which is the most critical of this shard's.
    fn may_exchange(&self, own: &mut OwnWaits, class: u8, seen: Seen) -> bool {
        if !seen.lets_pass(class) || !self.shared.is_reserve_whole(class) {
            return false;
        }
        if seen.has_others() {
            own.run += 1;
        }
        own.run <= EXCHANGES_MAX
    }

    /// Queues a request behind others of this shard and class. `None` if that is to be decided under the common lock.
    #[inline(always)]
    pub(super) fn queue_behind_own(&self, of: &ShardState, request: &Request, holder: Holder) -> Option<WaitId> {
        let ShardState { shown, counts, own_waits, .. } = of;
        if !self.is_own(request) || shown.waiting_by_class[usize::from(request.class)].get() == 0 {
            return None;
        }
        self.check_open_for(holder).ok()?;
        own_waits.0.with(|own| {
            let (queue, at) = (&self.shared.queue, usize::from(request.class));
            let stamp = queue.stamp.0.get();
            let may_queue = own.rights > 0 && own.is_waiting(request.class) && own.has_room() && own.has_stamp(stamp);
            if !may_queue {
                return None;
            }
            let grants = queue.grants.0[at].get() + own.exchanged[at];
            let wait = own.queue(request, holder, [self.now_ns(of), stamp, grants]);
            own.show_waiting(shown, request.class);
            counts.queued.add_one();
            Some(wait)
        })
    }

    /// A request that the shard may queue itself. `None` if it may not, or has no room.
    pub(super) fn request_own(
        &self,
        state: &mut Locked,
        request: &Request,
        holder: Holder,
    ) -> Option<Result<Outcome, SharedSchedulerError>> {
        if !self.is_own(request) || !self.own_waits().with(|own| own.has_room()) {
            return None;
        }
        let class = request.class;
        let may_wait = self.take_rights(state);
        let is_behind = state.placeholders.get(self.index, class).is_some();
        if !may_wait && (is_behind || !state.scheduler.would_grant_to(request)) {
            let waiters_max = state.scheduler.waiters_max();
            return Some(Err(SchedulerError::WaitersFull { waiters_max }.into()));
        }
        if !is_behind {
            let grants = state.scheduler.grants_of(class);
            match state.scheduler.request_for(request) {
                Ok(Outcome::Queued(wait)) => state.set_placeholder(self.index, class, wait, grants, state.stamp),
                Ok(Outcome::Granted(lease)) => {
                    return Some(Ok(Outcome::Granted(self.grant_now(state, lease, request, holder, 0))));
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
        let ShardState { shown, counts, .. } = self.shard_state();
        let wait = self.own_waits().with(|own| {
            let grants = state.grants_before(class, &own.exchanged);
            let wait = own.queue(request, holder, [state.now_ns(), state.stamp, grants]);
            own.show(shown, class);
            wait
        });
        counts.queued.add_one();
        Some(Ok(Outcome::Queued(wait)))
    }

    /// Makes sure that this shard may begin a wait itself. `false` if all waits are in use.
    fn take_rights(&self, state: &mut Locked) -> bool {
        if self.own_waits().with(|own| own.rights > 0) {
            return true;
        }
        if !self.shared.has_rights(state) {
            return false;
        }
        let rights = state.homes.rights.min(RIGHTS_AT_ONCE);
        state.homes.rights -= rights;
        self.own_waits().with(|own| own.rights += rights);
        true
    }

    /// Picks up the first grant among this shard's own waits.
    #[inline(always)]
    pub(super) fn pick_up_own(&self, of: &ShardState) -> PickedUp {
        let ShardState { shown, counts, called_ns, own_waits, .. } = of;
        let (picked_up, has_common_grants) = own_waits.0.with(|own| {
            let picked_up = own.pick_up();
            if own.first_grant().is_none() && !own.has_common_grants {
                self.shared.forget_call(self.index);
            }
            own.show_assigned(shown);
            (picked_up, own.has_common_grants)
        });
        if self.shared.has_deadlines() {
            called_ns.set(self.now_ns(of));
        }
        match picked_up {
            Some((buffer, holder, grant)) => {
                counts.picked_up.add_one();
                PickedUp::Grant(Grant { lease: self.hold(of, buffer, grant.class, holder, false), ..grant })
            }
            None if has_common_grants => PickedUp::LookAtCommon,
            None => PickedUp::Nothing,
        }
    }

    /// This shard has no grant of a wait that was in the common queue.
    pub(super) fn forget_common_grants(&self) {
        self.own_waits().with(|own| {
            own.has_common_grants = false;
            if own.first_grant().is_none() {
                self.shared.forget_call(self.index);
            }
        });
    }

    /// One of this shard's own waits is in the common queue itself from now on, in the place that it had there. Returns
    /// at which index.
    pub(super) fn move_to_common(&self, state: &mut Locked, row: u32, wait: WaitId) -> u32 {
        let (moved, was_first, next) = self.own_waits().with(|own| {
            let was_first = own.is_first(row);
            let moved = own.leave(row);
            own.show(&self.shard_state().shown, moved.class);
            (moved, was_first, own.first_stamp(moved.class))
        });
        // The shard may have dated it by a clock that another one is advancing.
        let since_ns = moved.since_ns.min(state.now_ns());
        let OwnWait { token, class, has_deadline, holder, stamp, .. } = moved;
        let request = Request { has_deadline, ..Request::new(class, token) };
        let index = match moved.phase {
            Phase::Assigned { buffer } => state.add_at_home(self.index, &request, buffer, [since_ns, moved.grants]),
            _ => {
                if was_first {
                    self.shared.cancel_placeholder(state, self.index, class);
                }
                state.queue_in_order(&request, since_ns, stamp).index()
            }
        };
        let queued_class = (moved.phase == Phase::Queued).then_some(class);
        state.homes.enter_moved(self.index, index, stamp, Kind::Wait { holder, alias: Some(wait) }, queued_class);
        self.own_waits().with(|own| own.set_moved(row, index));
        if let Some(stamp) = next.filter(|_| was_first) {
            self.shared.queue_placeholder(state, self.index, class, stamp);
        }
        index
    }

    /// Ends some of this shard's own waits. Whether some are left.
    pub(super) fn end_some_own(&self, state: &mut Locked, ends_max: u32) -> bool {
        for _ in 0..ends_max {
            let Some((row, wait)) = self.own_waits().with(|own| own.any()) else { break };
            let is_ended = self.shared.end_own_wait(state, (self.index, row), wait);
            self.shard_state().counts.cancelled.add(is_ended.into());
        }
        self.own_waits().with(|own| {
            let are_left = own.any().is_some();
            if !are_left {
                state.homes.rights += core::mem::take(&mut own.rights);
            }
            are_left
        })
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::super::SharedScheduler;
    use super::*;
    use crate::scheduler::{LeaseId, SchedulerConfig};
    use alloc::vec::Vec;
    use loom::thread;

    fn granted(shard: &SchedulerShard) -> LeaseId {
        match shard.request(0, 0).unwrap() {
            Outcome::Granted(lease) => lease,
            Outcome::Queued(_) => panic!("a buffer is free"),
        }
    }

    fn queue(shard: &SchedulerShard, token: u64) -> WaitId {
        match shard.request(0, token).unwrap() {
            Outcome::Queued(wait) => wait,
            Outcome::Granted(_) => panic!("no buffer is free"),
        }
    }

    fn drain(shard: &SchedulerShard) -> Vec<Grant> {
        core::iter::from_fn(|| shard.poll_grant()).collect()
    }

    /// Two shards; the first one has the only lease and this many waits of its own.
    fn with_own_waits(waits: u64) -> (SharedScheduler, SchedulerShard, SchedulerShard, LeaseId, Vec<WaitId>) {
        let shards = SharedScheduler::new(&SchedulerConfig::new(1, 4), 2).unwrap();
        let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
        let lease = granted(&a);
        let waits = (0..waits).map(|token| queue(&a, token)).collect();
        (shards, a, b, lease, waits)
    }

    /// A shard gives a buffer to a wait of its own while another one begins to wait: one of both has it, and nothing is
    /// lost.
    #[test]
    fn exchange_beside_a_request_of_another_shard() {
        loom::model(|| {
            let (shards, a, b, lease, _) = with_own_waits(2);
            let other = thread::spawn(move || (queue(&b, 7), b));
            a.release(lease).unwrap();
            let own = drain(&a);
            let (_, b) = other.join().unwrap();
            shards.check_invariants().unwrap();
            assert_eq!(own.iter().map(|grant| grant.token).collect::<Vec<_>>(), [0], "it was there first");
            // One of its own is left, so the next goes by the common queue, which has that one in front.
            a.release(own[0].lease).unwrap();
            let last = drain(&a)[0].lease;
            a.release(last).unwrap();
            assert_eq!(drain(&b).len(), 1);
        });
    }

    /// Another shard cancels a wait that may be served at the same time.
    #[test]
    fn exchange_beside_a_cancel_by_another_shard() {
        loom::model(|| {
            let (shards, a, b, lease, waits) = with_own_waits(3);
            let first = waits[0];
            let other = thread::spawn(move || (b.cancel(first).unwrap(), b));
            a.release(lease).unwrap();
            let (_, _b) = other.join().unwrap();
            shards.check_invariants().unwrap();
            assert_eq!(drain(&a).iter().map(|grant| grant.wait).collect::<Vec<_>>(), [waits[1]]);
            assert_eq!(shards.stats().scheduler.waiting, 1);
        });
    }

    /// Another shard cancels, or describes, a wait that its thread picks up. A new wait may have its row then.
    #[test]
    fn cancel_by_another_shard_beside_a_pick_up() {
        loom::model(|| {
            let (shards, a, b, lease, waits) = with_own_waits(2);
            a.release(lease).unwrap();
            let first = waits[0];
            let other = thread::spawn(move || (b.describe_wait(first), b.cancel(first), b));
            let seen = drain(&a);
            let later = queue(&a, 7);
            let (described, cancelled, _b) = other.join().unwrap();
            shards.check_invariants().unwrap();
            match described {
                Ok(info) => assert_eq!(info.token, 0, "that of another wait"),
                Err(_) => assert!(!seen.is_empty(), "it waits"),
            }
            // It was picked up, or ended, and then the next one has the buffer; nothing else ended.
            let is_gone = cancelled.is_err();
            let all: Vec<_> = seen.into_iter().chain(drain(&a)).map(|grant| grant.wait).collect();
            assert_eq!(all, [if is_gone { first } else { waits[1] }]);
            assert!(a.describe_wait(later).is_ok());
        });
    }

    /// A shard queues a request itself while its placeholder is served.
    #[test]
    fn request_behind_a_wait_that_is_served() {
        loom::model(|| {
            let (shards, a, b, lease, waits) = with_own_waits(1);
            let other = thread::spawn(move || {
                b.release(lease).unwrap();
                (b.poll_wake(), b)
            });
            let outcome = a.request(0, 7).unwrap();
            let seen = drain(&a);
            let (named, b) = other.join().unwrap();
            shards.check_invariants().unwrap();
            assert!(matches!(outcome, Outcome::Queued(_)), "its own wait is first");
            assert!(!seen.is_empty() || named == Some(0), "the shard is named");
            let grant = seen.into_iter().chain(drain(&a)).next().expect("it is served");
            assert_eq!(grant.wait, waits[0]);
            b.release(grant.lease).unwrap();
            assert_eq!(drain(&a).iter().map(|grant| grant.token).collect::<Vec<_>>(), [7]);
        });
    }

    /// A buffer that a shard exchanged is taken from it, for it does not look, or picked up.
    #[test]
    fn exchanged_grant_is_picked_up_or_goes_on() {
        loom::model(|| {
            let config = SchedulerConfig { lease_ns: Some(1), ..SchedulerConfig::new(1, 4) };
            let shards = SharedScheduler::new(&config, 2).unwrap();
            let [a, b] = [0, 1].map(|index| shards.shard(index).unwrap());
            b.handle_timeout(0);
            let lease = granted(&a);
            queue(&a, 0);
            queue(&a, 1);
            queue(&b, 2);
            a.release(lease).unwrap();
            let other = thread::spawn(move || (drain(&a), a));
            b.handle_timeout(10);
            let mut all = drain(&b);
            let (mut seen, _a) = other.join().unwrap();
            all.append(&mut seen);
            shards.check_invariants().unwrap();
            assert!(all.len() <= 1, "there is one buffer: {all:?}");
            assert_eq!(all.len() as u32 + shards.stats().scheduler.assigned, 1);
        });
    }

    /// A shard picks up the last grant of its own while another thread serves a wait of it in the common queue.
    #[test]
    fn common_wait_is_served_beside_own_pick_ups() {
        loom::model(|| {
            let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(2, 8) };
            config.class_caps[1] = 1;
            let shards = SharedScheduler::new(&config, 2).unwrap();
            let [a, b] = [0, 1].map(|index| shards.shard(index).unwrap());
            let request = |class| match a.request(class, class.into()).unwrap() {
                Outcome::Granted(lease) => Some(lease),
                Outcome::Queued(_) => None,
            };
            let (capped, lease) = (request(1).unwrap(), request(0).unwrap());
            assert!(request(0).is_none() && request(1).is_none());
            b.release(lease).unwrap();
            assert_eq!(b.poll_wake(), Some(0));
            let other = thread::spawn(move || {
                b.release(capped).unwrap();
                (b.poll_wake(), b)
            });
            let seen = drain(&a).len();
            let (named, _b) = other.join().unwrap();
            shards.check_invariants().unwrap();
            assert!(seen == 2 || named == Some(0), "what came later is named");
            assert_eq!(seen + drain(&a).len(), 2);
        });
    }
}
