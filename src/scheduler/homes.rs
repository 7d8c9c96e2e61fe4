//! Waits that have a home: one of several lists of grants, in which each stays until its grant is picked up.

use super::buffers::LeaseState;
use super::list::List;
use super::waits::{Wait, WaitState};
use super::{LeaseId, Request, Scheduler, WaitId};

impl Scheduler {
    /// The first wait with a buffer that is not at home goes there. From then on the buffer is leased.
    pub(crate) fn bring_home(&mut self, grants: &mut List) {
        let index = self.assigned.first().expect("the caller has seen it");
        self.assigned.unlink(self.waits.table_mut(), index);
        let wait = &mut self.waits.table_mut()[index as usize];
        wait.state = WaitState::AtHome;
        self.buffers.lease_mut(wait.buffer).state = LeaseState::Leased;
        grants.push_back(self.waits.table_mut(), index);
    }

    /// A wait that is at home from the start: this leased buffer is its own, of the default tenant. It waits since a
    /// time, and was bypassed a number of times. The caller knows that there is room.
    pub(crate) fn add_at_home(&mut self, grants: &mut List, request: &Request, buffer: u32, since: [u64; 2]) -> u32 {
        let index = self.add_wait(request, 0);
        let wait = &mut self.waits.table_mut()[index as usize];
        ([wait.since_ns, wait.bypasses], wait.state, wait.buffer) = (since, WaitState::AtHome, buffer);
        grants.push_back(self.waits.table_mut(), index);
        index
    }

    /// A wait that moves leaves its home, if it is at home.
    pub(crate) fn leave_home(&mut self, index: u32, grants: &mut List) -> bool {
        let is_at_home = self.waits.table()[index as usize].state == WaitState::AtHome;
        if is_at_home {
            grants.unlink(self.waits.table_mut(), index);
        }
        is_at_home
    }

    /// It is the last at its new home.
    pub(crate) fn enter_home(&mut self, index: u32, grants: &mut List) {
        grants.push_back(self.waits.table_mut(), index);
    }

    /// A wait goes by another token.
    pub(crate) fn set_wait_token(&mut self, index: u32, token: u64) {
        self.waits.table_mut()[index as usize].token = token;
    }

    /// Ends a wait. If it was at home, its buffer goes to the next, and the tenant is returned that has one less.
    pub(crate) fn end_wait(&mut self, index: u32, grants: &mut List) -> Option<u32> {
        if !self.leave_home(index, grants) {
            self.cancel(self.wait_at(index)).expect("it waits");
            return None;
        }
        let Wait { buffer, tenant, .. } = self.waits.table()[index as usize];
        self.waits.remove(index);
        self.release_at(buffer);
        Some(tenant)
    }

    /// Takes the buffer of a wait at home: it queues behind all others of its class and tenant, unless none of them may
    /// take it. Returns whether it queues.
    pub(crate) fn queue_again(&mut self, index: u32, grants: &mut List) -> bool {
        let Wait { buffer, class, tenant, .. } = self.waits.table()[index as usize];
        // It may be going away.
        self.tenants.pin(tenant);
        self.release_at(buffer);
        let lease = self.grant_at_once(&Request::new(class, 0), tenant).map(LeaseId::index);
        match lease {
            Some(other) => self.waits.table_mut()[index as usize].buffer = other,
            None => {
                grants.unlink(self.waits.table_mut(), index);
                let since_ns = self.clock.now_ns();
                let wait = &mut self.waits.table_mut()[index as usize];
                (wait.since_ns, wait.state) = (since_ns, WaitState::Queued);
                self.enter_queue(index);
            }
        }
        self.tenants.unpin(tenant);
        lease.is_none()
    }

    /// The tenant of a wait.
    pub(crate) fn tenant_of_wait(&self, index: u32) -> u32 {
        self.waits.table()[index as usize].tenant
    }

    pub(crate) fn class_of_wait(&self, index: u32) -> u8 {
        self.waits.table()[index as usize].class
    }

    pub(crate) fn is_queued(&self, index: u32) -> bool {
        self.waits.table()[index as usize].state == WaitState::Queued
    }

    /// The buffer of a wait at home.
    pub(crate) fn buffer_of_wait(&self, index: u32) -> u32 {
        self.waits.table()[index as usize].buffer
    }

    /// Waits at home, the next first.
    pub(crate) fn waits_at(&self, grants: &List) -> impl Iterator<Item = u32> {
        grants.iter(self.waits.table())
    }

    /// Whether this is a wait, queued or with a buffer.
    pub(crate) fn has_wait(&self, wait: WaitId) -> bool {
        self.waits.find(wait).is_some()
    }

    /// Whether the entry at this index is a wait.
    pub(crate) fn is_wait(&self, index: u32) -> bool {
        self.waits.table().get(index as usize).is_some_and(|wait| wait.state != WaitState::Free)
    }

    /// Entries of the table of waits that were ever used.
    pub(crate) fn wait_rows(&self) -> u32 {
        self.waits.table().len() as u32
    }

    /// The waits that there may be.
    pub(crate) fn waiters_max(&self) -> u32 {
        self.waits.max()
    }

    /// Whether these are grants of waits at home.
    pub(crate) fn are_grants_sound(&self, grants: &List) -> bool {
        grants.is_sound(self.waits.table(), |_, wait: &Wait| wait.state == WaitState::AtHome)
    }
}
