//! For the search: all that the future depends on.

use super::{Borrow, ModelReceiving};

impl ModelReceiving {
    /// Writes down the state. States are alike if their receivers are, if these come in the same order
    /// wherever there is one, and if each waits for as long, up to what makes no difference. Of credit counts only
    /// whether there is enough. Counts of trials and evictions are left out.
    pub fn state_key(&self, state: &mut Vec<u64>) {
        state.extend([u64::from(self.leases), self.now - self.before]);
        let rank = |value: Option<u64>, all: &dyn Fn(u32) -> Option<u64>| {
            let before = |&id: &u32| all(id) < value;
            value.map_or(u64::MAX, |_| self.receivers.keys().filter(|id| before(id)).count() as u64)
        };
        for (&id, receiver) in &self.receivers {
            // The time for which content is held does not count.
            let until = receiver.held_since.unwrap_or(self.now);
            let age = receiver.start.map_or(u64::MAX, |start| (until - start).min(self.config.wait_ns_max()));
            let held_max = self.config.blocked_ns + self.step_ns_max();
            let held = receiver.held_since.map_or(u64::MAX, |since| (self.now - since).min(held_max));
            // What is not late is not evicted in the next iteration in any case.
            let is_late = self.deadline(id).is_some_and(|deadline| deadline <= self.now);
            let sparing = receiver.sparing.filter(|&time| time >= self.before && is_late);
            let off = |id: u32| self.receiver(id).off;
            let shed = |id: u32| self.receiver(id).shed.and_then(|(_, notice)| notice);
            state.extend([
                u64::from(id),
                receiver.tenant as u64,
                u64::from(receiver.kept()),
                u64::from(receiver.needed),
                u64::from(receiver.usable),
                receiver.cell.map_or(u64::MAX, |cell| cell as u64),
                age,
                held,
                sparing.map_or(u64::MAX, |time| self.now - time),
                rank(self.deadline(id), &|id| self.deadline(id)),
                rank(self.evictable_from(id), &|id| self.evictable_from(id)),
                rank(receiver.off, &off),
                rank(shed(id), &shed),
                u64::from(receiver.claim_since.is_some()),
                u64::from(receiver.is_guess),
                u64::from(receiver.kept_for_good),
                u64::from(receiver.shed.is_some()),
                u64::from(self.is_in_credit(id)),
                u64::from(receiver.offset),
            ]);
            self.flight_key(id, state);
            self.counting_key(id, state);
            if let Some(Borrow {
                place,
                purpose,
                access,
                max,
                asked,
                brought,
                receives,
                before,
                consumed,
                in_place,
                seen,
                owed,
                reported,
                again,
                after_misfit,
                ..
            }) = receiver.borrow
            {
                state.extend(
                    [place as u32, purpose as u32, access as u32, max, asked, brought, receives, before, consumed]
                        .map(u64::from),
                );
                state.extend([in_place, reported, after_misfit].map(u64::from));
                state.extend([seen, owed].map(u64::from));
                state.push(again.map_or(u64::MAX, u64::from));
            }
        }
    }
}
