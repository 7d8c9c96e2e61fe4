//! The homes of the waits that are in the common queue: each has one, the shard that is woken when it is served.

use super::cache::Holder;
use super::state::Locked;
use crate::alloc_util::reserve;
use crate::scheduler::list::List;
use crate::scheduler::{CLASSES_MAX, ConfigError, Grant, Request, WaitId};
use alloc::vec::Vec;

/// What shards know of a wait, beside what the scheduler does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    /// Its shard, or [`Homes::away`].
    pub(super) home: u32,
    /// A wait with an earlier one was there before.
    pub(super) stamp: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// It stands for waits that its shard queues itself.
    Placeholder,
    /// `alias` is the number that the host knows it by, if its shard queued it before.
    Wait { holder: Holder, alias: Option<WaitId> },
}

/// One home: its grants, first in, first out, and how many other waits it has, by class.
#[derive(Clone, Copy, Debug)]
struct Home {
    grants: List,
    queued: [u32; CLASSES_MAX],
}

#[derive(Debug)]
pub(super) struct Homes {
    /// By the index of the wait. Touched in the order of first use.
    residents: Vec<Resident>,
    /// By shard; the last one is that of waits which are exported and not imported yet.
    homes: Vec<Home>,
    /// Grants that are not picked up.
    pub(super) assigned: u32,
    /// Waits that may begin, beside those that shards may begin themselves.
    pub(super) rights: u32,
}

impl Homes {
    pub(super) fn new(waiters_max: u32, shards: u32) -> Result<Homes, ConfigError> {
        let residents = reserve("waiters_max", waiters_max)?;
        let mut homes = reserve("shards", shards + 1)?;
        homes.resize(shards as usize + 1, Home { grants: List::EMPTY, queued: [0; CLASSES_MAX] });
        Ok(Homes { residents, homes, assigned: 0, rights: waiters_max })
    }

    /// The home of waits that are exported and not imported yet.
    pub(super) fn away(&self) -> u32 {
        self.homes.len() as u32 - 1
    }

    pub(super) fn at(&self, index: u32) -> &Resident {
        &self.residents[index as usize]
    }

    fn home(&mut self, home: u32) -> &mut Home {
        &mut self.homes[home as usize]
    }

    /// Notes a wait that the scheduler has just queued.
    fn enter(&mut self, index: u32, resident: Resident) {
        if index as usize == self.residents.len() {
            // Inside what was reserved at start: the scheduler has as many waits.
            self.residents.push(resident);
        } else {
            self.residents[index as usize] = resident;
        }
    }

    pub(super) fn enter_placeholder(&mut self, wait: WaitId, home: u32, stamp: u64) {
        self.enter(wait.index(), Resident { home, stamp, kind: Kind::Placeholder });
    }

    /// A wait that begins.
    pub(super) fn open(&mut self, home: u32, wait: WaitId, class: u8, holder: Holder, stamp: u64) {
        self.rights -= 1;
        self.enter_moved(home, wait.index(), stamp, Kind::Wait { holder, alias: None }, Some(class));
    }

    /// As `open`, of a wait that its shard queued before: it had a right. Without a class, it is at home.
    pub(super) fn enter_moved(&mut self, home: u32, index: u32, stamp: u64, kind: Kind, class: Option<u8>) {
        self.enter(index, Resident { home, stamp, kind });
        if let Some(class) = class {
            *self.queued(home, class) += 1;
        }
    }

    /// The waits of a home in a class that are not at home.
    fn queued(&mut self, home: u32, class: u8) -> &mut u32 {
        &mut self.home(home).queued[usize::from(class)]
    }

    /// A wait has ended; the number that the host knew it by, if it had another one.
    fn close(&mut self, index: u32) -> Option<WaitId> {
        let Resident { kind, .. } = self.residents[index as usize];
        self.rights += 1;
        match kind {
            Kind::Wait { alias, .. } => alias,
            Kind::Placeholder => None,
        }
    }

    pub(super) fn has_grants(&self, home: u32) -> bool {
        !self.homes[home as usize].grants.is_empty()
    }

    /// How many waits a home has.
    pub(super) fn waits_of(&self, home: u32) -> u32 {
        let Home { grants, queued } = &self.homes[home as usize];
        grants.len + queued.iter().sum::<u32>()
    }

    /// How many of them are queued in a class, once all grants are at home.
    pub(super) fn queued_of(&self, home: u32, class: u8) -> u32 {
        self.homes[home as usize].queued[usize::from(class)]
    }

    /// Adds to the counts of waits that are queued in the first class and of those that have a buffer, for the check of
    /// invariants.
    #[cfg(all(test, not(loom)))]
    pub(super) fn miscount(&mut self, home: u32, [queued, assigned]: [u32; 2]) {
        *self.queued(home, 0) += queued;
        self.home(home).grants.len += assigned;
    }

    /// Breaks the list of a home's grants.
    #[cfg(all(test, not(loom)))]
    pub(super) fn lose_tail(&mut self, home: u32) {
        self.home(home).grants.tail = crate::scheduler::list::NIL;
    }
}

impl Locked {
    /// The index of a wait in the common queue, if it is one and no placeholder.
    pub(super) fn find_common(&self, wait: WaitId) -> Option<u32> {
        (self.scheduler.has_wait(wait) && self.is_wait(wait.index())).then_some(wait.index())
    }

    /// Whether the entry at this index is a wait of a host or a receiver.
    pub(super) fn is_wait(&self, index: u32) -> bool {
        let resident = self.homes.residents.get(index as usize);
        self.scheduler.is_wait(index) && resident.is_some_and(|of| matches!(of.kind, Kind::Wait { .. }))
    }

    /// All these waits, and their homes.
    pub(super) fn common_waits(&self) -> impl Iterator<Item = (u32, &Resident)> {
        (0..).zip(&self.homes.residents).filter(|&(index, _)| self.is_wait(index))
    }

    /// The first wait that has a buffer and is not at home goes there.
    pub(super) fn bring_home(&mut self, index: u32) {
        let Locked { scheduler, homes, .. } = self;
        let home = homes.at(index).home;
        homes.assigned += 1;
        *homes.queued(home, scheduler.class_of_wait(index)) -= 1;
        scheduler.bring_home(&mut homes.home(home).grants);
    }

    /// Adds a wait that its shard gave this buffer to before. It waits since then, and was bypassed that often.
    pub(super) fn add_at_home(&mut self, home: u32, request: &Request, buffer: u32, since: [u64; 2]) -> u32 {
        self.homes.assigned += 1;
        self.scheduler.add_at_home(&mut self.homes.home(home).grants, request, buffer, since)
    }

    /// Gives a wait another home.
    pub(super) fn rehome(&mut self, index: u32, home: u32) {
        let Locked { scheduler, homes, .. } = self;
        let old = core::mem::replace(&mut homes.residents[index as usize].home, home);
        if scheduler.leave_home(index, &mut homes.home(old).grants) {
            scheduler.enter_home(index, &mut homes.home(home).grants);
        } else {
            let class = scheduler.class_of_wait(index);
            *homes.queued(old, class) -= 1;
            *homes.queued(home, class) += 1;
        }
    }

    /// The wait whose grant a home picks up next.
    fn first_grant(&self, home: u32) -> Option<WaitId> {
        self.homes.homes[home as usize].grants.first().map(|index| self.scheduler.wait_at(index))
    }

    /// The number that the host knows it by.
    pub(super) fn first_number(&self, home: u32) -> Option<WaitId> {
        let wait = self.first_grant(home)?;
        match self.homes.at(wait.index()).kind {
            Kind::Wait { alias: Some(alias), .. } => Some(alias),
            _ => Some(wait),
        }
    }

    /// Ends the wait that is the first of a home's grants. The buffer's lease is the scheduler's.
    pub(super) fn pick_up(&mut self, home: u32) -> Option<(Grant, Holder, Option<WaitId>)> {
        let grant = self.scheduler.pick_up(&mut self.homes.home(home).grants)?;
        let index = grant.wait.index();
        let Kind::Wait { holder, alias } = self.homes.at(index).kind else {
            unreachable!("a placeholder is not at home")
        };
        self.homes.assigned -= 1;
        self.homes.close(index);
        Some((grant, holder, alias))
    }

    /// Ends a wait. Returns the tenant that has a buffer less, and the wait's other number.
    pub(super) fn end_common(&mut self, index: u32) -> (u32, Option<WaitId>) {
        let Locked { scheduler, homes, .. } = self;
        let (home, class) = (homes.at(index).home, scheduler.class_of_wait(index));
        let tenant = scheduler.end_wait(index, &mut homes.home(home).grants);
        match tenant {
            Some(_) => homes.assigned -= 1,
            None => *homes.queued(home, class) -= 1,
        }
        (tenant.unwrap_or(0), homes.close(index))
    }

    /// The waits whose grants a home picks up, the next first.
    pub(super) fn grants(&self, home: u32) -> impl Iterator<Item = u32> {
        self.scheduler.waits_at(&self.homes.homes[home as usize].grants)
    }

    /// Takes the buffer of a wait at home, and queues it behind all others of its class and tenant; unless no other
    /// wait may take it.
    pub(super) fn queue_again(&mut self, index: u32) {
        let Locked { scheduler, homes, stamp, .. } = self;
        let home = homes.at(index).home;
        if scheduler.queue_again(index, &mut homes.home(home).grants) {
            homes.residents[index as usize].stamp = *stamp;
            homes.assigned -= 1;
            *homes.queued(home, scheduler.class_of_wait(index)) += 1;
        }
    }

    /// Whether the lists of grants have what is in the table.
    pub(super) fn are_homes_sound(&self) -> bool {
        self.homes.homes.iter().all(|home| self.scheduler.are_grants_sound(&home.grants))
    }
}
