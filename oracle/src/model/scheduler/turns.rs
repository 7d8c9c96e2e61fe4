//! Turns of tenants: their rings, as the docs of `demuxbuf::scheduler` and `TenantConfig` have them.

use super::{Lease, ModelScheduler, Verdict, Wait};

/// A tenant's place in the round of a class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) tenant: u64,
    /// Units that are left of what it may take.
    pub(super) deficit: u32,
    /// Its turn began, and is not over.
    pub(super) is_on: bool,
}

/// What the future of one class depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    /// Hand-offs to other classes that it could have had, since it was served.
    pub(super) bypassed: u64,
    /// Tenants that wait here and are below their cap, the next first.
    pub(super) round: Vec<Turn>,
    /// Those of them that are below their guarantee, the next first.
    pub(super) entitled: Vec<u64>,
    /// Grants by guarantee since the last one by turn.
    pub(super) entitled_run: u32,
}

impl ModelScheduler {
    /// The waits of a tenant in a class, the next first.
    pub(super) fn flow(&self, class: usize, tenant: u64) -> impl Iterator<Item = &Wait> {
        self.queued.iter().filter(move |wait| wait.class == class && wait.tenant == tenant)
    }

    /// Puts a tenant into the rounds it belongs to, and takes it out of other rounds.
    pub(super) fn place(&mut self, tenant: u64) {
        let left = self.left_of(tenant);
        let is_below = self.out_of(|lease| lease.tenant == tenant) < self.tenants[&tenant].guaranteed;
        for class in 0..self.classes() {
            let need = self.flow(class, tenant).next().map(|wait| self.units_of(wait.size_index));
            let is_open = need.is_some_and(|need| need <= left);
            if !is_open {
                // When its cap has blocked it, counting starts again.
                let kept = self.queued.iter_mut().filter(|wait| wait.class == class && wait.tenant == tenant);
                kept.for_each(|wait| wait.bypasses = 0);
            }
            let Class { round, entitled, .. } = &mut self.classes[class];
            match (round.iter().any(|turn| turn.tenant == tenant), is_open) {
                (false, true) => round.push(Turn { tenant, deficit: 0, is_on: false }),
                (true, false) => round.retain(|turn| turn.tenant != tenant),
                _ => {}
            }
            match (entitled.contains(&tenant), is_open && is_below) {
                (false, true) => entitled.push(tenant),
                (true, false) => entitled.retain(|&other| other != tenant),
                _ => {}
            }
        }
        self.take_turns();
    }

    /// The tenant that a class serves next, and whether because of its guarantee.
    fn choose(&self, class: usize) -> Option<(u64, bool)> {
        let Class { round, entitled, entitled_run, .. } = &self.classes[class];
        if let Some(&tenant) = entitled.first().filter(|_| *entitled_run < self.config.class_burst) {
            return Some((tenant, true));
        }
        let first = round.first()?;
        let is_over = first.is_on && first.deficit < self.need(class, first.tenant);
        let next = if is_over { round.get(1).unwrap_or(first) } else { first };
        Some((next.tenant, false))
    }

    fn need(&self, class: usize, tenant: u64) -> u32 {
        let first = self.flow(class, tenant).next().expect("a tenant in a round has a wait");
        self.units_of(first.size_index)
    }

    /// Units that the next waiter of a class needs.
    pub(super) fn next_of(&self, class: usize) -> Option<u32> {
        self.choose(class).map(|(tenant, _)| self.need(class, tenant))
    }

    pub(super) fn verdict(&self, class: usize, units: u32) -> Verdict {
        let free = self.free().saturating_sub(self.reserve_of(class));
        if free == 0 || units > self.left_of_class(class) {
            Verdict::Blocked
        } else if units > free {
            Verdict::TooLargeNow
        } else {
            Verdict::Fits
        }
    }

    fn next_verdict(&self, class: usize) -> Verdict {
        self.next_of(class).map_or(Verdict::Blocked, |units| self.verdict(class, units))
    }

    /// Whether a more critical class keeps its turn for more than is free.
    pub(super) fn is_behind_larger(&self, class: usize) -> bool {
        (0..class).any(|other| self.next_verdict(other) == Verdict::TooLargeNow)
    }

    /// Withholds what is to be withheld, then assigns free buffers for as long as an eligible waiter is queued.
    pub(super) fn hand_over(&mut self) {
        self.withhold();
        loop {
            let could: Vec<usize> = (0..self.classes())
                .filter(|&class| self.next_verdict(class) == Verdict::Fits && !self.is_behind_larger(class))
                .collect();
            let bypassed = |class: usize| self.classes[class].bypassed;
            let overdue = could.iter().filter(|&&class| bypassed(class) >= self.config.class_burst.into());
            // The class that was bypassed most often; of equals the most critical.
            let overdue = overdue.max_by_key(|&&class| (bypassed(class), std::cmp::Reverse(class)));
            let Some(&winner) = overdue.or(could.first()) else {
                return;
            };
            for &class in &could {
                self.pass(class);
            }
            self.classes[winner].bypassed = 0;
            self.serve(winner);
        }
    }

    /// A grant bypasses the waiters that could have had it.
    fn pass(&mut self, class: usize) {
        let Class { round, bypassed, .. } = &mut self.classes[class];
        *bypassed += 1;
        let in_round = |tenant: u64| round.iter().any(|turn| turn.tenant == tenant);
        let bypasses = self.queued.iter_mut().filter(|wait| wait.class == class && in_round(wait.tenant));
        bypasses.for_each(|wait| wait.bypasses += 1);
    }

    fn serve(&mut self, class: usize) {
        let (tenant, is_entitled) = self.choose(class).expect("the winner waits");
        let units = self.need(class, tenant);
        if is_entitled {
            let Class { entitled, entitled_run, .. } = &mut self.classes[class];
            *entitled_run += 1;
            entitled.rotate_left(1);
        } else {
            self.pay(class, tenant, units);
        }
        let first = |wait: &Wait| wait.class == class && wait.tenant == tenant;
        let at = self.queued.iter().position(first).expect("the wait is queued");
        let mut wait = self.queued.remove(at);
        // Its own grant did not bypass it.
        wait.bypasses -= 1;
        let lease: Lease = self.lease(wait.token, class, tenant, units, wait.has_deadline);
        self.assigned.push_back((wait, lease));
        self.take(tenant);
        self.stats.scheduler.granted_by_handoff += 1;
        self.stats.scheduler.bypass_peak = self.stats.scheduler.bypass_peak.max(wait.bypasses);
    }

    /// The tenant with the turn takes this many units of its allowance: `weight` times the largest size a turn.
    fn pay(&mut self, class: usize, tenant: u64, units: u32) {
        let largest = self.config.sizes.into_iter().max().expect("there are sizes");
        let a_turn = largest * self.tenants[&tenant].weight;
        let Class { round, entitled_run, .. } = &mut self.classes[class];
        *entitled_run = 0;
        if round[0].tenant != tenant {
            round[0].is_on = false;
            round.rotate_left(1);
        }
        let turn = &mut round[0];
        if !turn.is_on || turn.deficit < units {
            (turn.deficit, turn.is_on) = (turn.deficit + a_turn, true);
        }
        turn.deficit -= units;
    }

    /// The published bound, from the formula in the docs.
    pub(super) fn bound(&self) -> u64 {
        let (q_and_1, classes) = (u64::from(self.config.waiters_max), self.classes() as u64);
        let burst = u64::from(self.config.class_burst);
        let others = u64::from(self.config.tenants_max).min(q_and_1.saturating_sub(1));
        let sizes = self.config.sizes.iter().copied().filter(|&units| units > 0);
        let (largest, smallest) = (sizes.clone().max().unwrap_or(1), sizes.min().unwrap_or(1));
        let left_over = u64::from(largest > smallest);
        let a_turn = (u64::from(self.weight_peak) + left_over) * u64::from(largest.div_ceil(smallest));
        let grants = if others == 0 { q_and_1 } else { q_and_1 * (others * a_turn + 1) * (burst + 1) };
        let passes = if classes == 1 { 1 } else { burst + classes };
        grants.saturating_mul(passes).saturating_sub(1)
    }
}
