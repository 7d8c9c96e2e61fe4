//! The buffers of one thread that shares a pool: what it holds, what it saw, and its one wait.

use super::ModelReceiving;
use crate::model::shards::{Desk, PickedUp};
use crate::system::{Ask, Asked, Notice, System};
use demuxbuf_capi::DEMUXBUF_ERR_TABLE_FULL;

/// The thread's part of the budget.
#[derive(Clone, Debug)]
pub(in crate::model) struct Shard {
    pub(in crate::model) desk: Desk,
    /// The class of receivers; behind it is that of waits without credit.
    class: u8,
    waiters_max: u32,
    /// Free, for receivers of this thread.
    held: Vec<u64>,
    /// What was free for all beside, when it looked last.
    seen: u32,
    wait: Option<Wait>,
}

/// The wait that stands for the receivers of a shard.
#[derive(Clone, Copy, Debug)]
struct Wait {
    id: u64,
    /// It is for a receiver in credit.
    is_in_credit: bool,
    /// It is in the class of receivers, not in the one behind.
    is_of_receivers: bool,
}

impl Shard {
    pub(in crate::model) fn new(desk: Desk, class: u8, waiters_max: u32) -> Shard {
        let held = desk.begin();
        let mut shard = Shard { desk, class, waiters_max, held, seen: 0, wait: None };
        shard.see();
        shard
    }

    pub(super) fn held(&self) -> u32 {
        self.held.len() as u32
    }

    pub(super) fn free(&self) -> u32 {
        if self.held.is_empty() { 0 } else { self.held() + self.seen }
    }

    /// It looks at what is free for all, less the reserve of the class of receivers.
    pub(super) fn see(&mut self) {
        let scheduler = self.desk.scheduler();
        self.seen = scheduler.free_buffers().saturating_sub(scheduler.reserve(self.class));
    }

    /// The buffers that are free above this are for receivers in credit or not.
    pub(super) fn reserve(&self) -> u32 {
        let scheduler = self.desk.scheduler();
        scheduler.reserve(self.class + 1) - scheduler.reserve(self.class)
    }

    pub(super) fn take(&mut self) -> u64 {
        self.held.pop().expect("one is held")
    }

    /// It holds one if it held none; any other goes to all.
    pub(super) fn give(&mut self, lease: u64) {
        if self.held.is_empty() {
            self.held.push(lease);
        } else {
            self.release(lease);
        }
    }

    fn release(&mut self, lease: u64) {
        self.desk.release(lease);
        self.see();
    }

    fn hold(&mut self, lease: u64) {
        self.held.push(lease);
        self.see();
    }

    /// It holds this many, if they are free.
    pub(super) fn make_ready(&mut self, buffers: u32) {
        while self.held() < buffers {
            let ask = Ask::new(self.class, 0);
            let lease = self.desk.call(|scheduler| scheduler.try_request_timed(ask, false));
            match lease.expect("it is allowed") {
                Some(lease) => self.hold(lease),
                None => {
                    self.seen = 0;
                    return;
                }
            }
        }
    }

    /// It holds no more than the spare. True if it sees that more is free than before.
    pub(super) fn hold_one(&mut self) -> bool {
        let before = self.free();
        while self.held.len() > 1 {
            let lease = self.take();
            self.release(lease);
        }
        before < self.free()
    }

    /// Nothing is left to poll. What the first receiver that waits needs, and whether it is in credit; whether the
    /// shard may begin to ask. True if it has a buffer more.
    pub(super) fn rest(&mut self, first_is_in_credit: Option<bool>, may_ask: bool) -> bool {
        self.hold_one();
        let wanted = first_is_in_credit.filter(|&is_in_credit| !is_in_credit || self.held.is_empty());
        if self.wait.map(|wait| wait.is_in_credit) == wanted || (wanted.is_some() && !may_ask) {
            return false;
        }
        if let Some(Wait { id, .. }) = self.wait.take() {
            self.desk.ask(None);
            self.desk.cancel(id);
        }
        let Some(is_in_credit) = wanted else { return false };
        let class = if is_in_credit { self.class } else { self.class + 1 };
        match self.desk.request(Ask::new(class, 0)).expect("each shard has a wait") {
            Asked::Lease(lease) => {
                self.have(lease, is_in_credit);
                true
            }
            Asked::Wait(id) => {
                self.wait = Some(Wait { id, is_in_credit, is_of_receivers: is_in_credit });
                false
            }
        }
    }

    /// What its receivers waited for came. Where their class has a cap, a buffer of the class behind is released, and
    /// taken as one of theirs.
    fn have(&mut self, lease: u64, is_of_receivers: bool) {
        if is_of_receivers || !self.desk.scheduler().has_cap(self.class) {
            return self.hold(lease);
        }
        self.desk.release(lease);
        let held = self.held();
        self.make_ready(held + 1);
        if self.held() == held {
            match self.desk.request(Ask::new(self.class, 0)).expect("each shard has a wait") {
                Asked::Lease(lease) => self.hold(lease),
                Asked::Wait(id) => self.wait = Some(Wait { id, is_in_credit: false, is_of_receivers: true }),
            }
        }
    }

    /// What was assigned to its waits; what its receivers waited for, it holds. Whether the lease has a deadline.
    pub(super) fn pick_up(&mut self) -> Option<(Notice, bool)> {
        loop {
            let PickedUp { wait, token, lease, has_deadline } = self.desk.pick_up()?;
            let Some(own) = self.wait.take_if(|own| own.id == wait) else {
                return Some((Notice::Lease { wait, token, lease }, has_deadline));
            };
            self.desk.ask(None);
            self.have(lease, own.is_of_receivers);
        }
    }

    /// A request of the host's own.
    pub(super) fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        if self.host_waits() == self.waiters_max {
            let lease = self.desk.call(|scheduler| scheduler.try_request_timed(ask, false))?;
            return lease.map(Asked::Lease).ok_or(DEMUXBUF_ERR_TABLE_FULL);
        }
        self.desk.request(ask)
    }

    /// Waits of the host's own.
    pub(in crate::model) fn host_waits(&self) -> u32 {
        self.desk.waits_beside(self.wait.map(|wait| wait.id))
    }

    /// For the search: what a lease or a wait is to this shard.
    pub(in crate::model) fn owner(&self, handle: u64) -> u64 {
        if self.held.contains(&handle) {
            2
        } else if self.wait.is_some_and(|own| own.id == handle) {
            3
        } else {
            4 * u64::from(self.desk.is_home_of(handle))
        }
    }

    /// What the future of the shard depends on.
    pub(in crate::model) fn state_key(&self, state: &mut Vec<u64>) {
        let wait = self.wait.map_or(0, |wait| 1 + u64::from(wait.is_in_credit) + 2 * u64::from(wait.is_of_receivers));
        state.extend([u64::from(self.held()), u64::from(self.seen), wait]);
        state.extend(self.desk.state_key());
    }

    /// The bound on waits of all shards, from that of the one queue.
    pub(in crate::model) fn bypass_bound(&self, of_queue: u64) -> u64 {
        self.desk.bypass_bound(of_queue)
    }

    pub(in crate::model) fn cancel(&self, wait: u64) -> bool {
        self.desk.cancel(wait)
    }

    pub(in crate::model) fn is_host_wait(&self, wait: u64) -> bool {
        self.desk.is_home_of(wait) && self.wait.is_none_or(|own| own.id != wait)
    }
}

impl ModelReceiving {
    /// Before a call that may take buffers: a shard takes those that it may need.
    pub(in crate::model) fn make_ready(&mut self) {
        let buffers = 1 + self.set_aside();
        if let Some(shard) = self.shard_mut() {
            shard.make_ready(buffers);
        }
    }

    /// A shard sees what is free for all.
    pub(super) fn see(&mut self) {
        if let Some(shard) = self.shard_mut() {
            shard.see();
            self.reserve = self.shard().expect("it has one").reserve();
        }
    }

    /// Nothing is left to poll: a receiver that waits for memory waits where it comes from. True if a buffer came at
    /// once.
    pub(super) fn rest_at_shard(&mut self) -> bool {
        let first = self.first_claim().or_else(|| self.first_off()).map(|id| self.is_in_credit(id));
        let may_ask = !self.is_borrowed();
        let has_come = self.shard_mut().is_some_and(|shard| shard.rest(first, may_ask));
        if may_ask {
            let asked = self.first_claim().filter(|&id| !self.is_at_limit(id)).and_then(|id| self.more_bytes(id));
            if let Some(shard) = self.shard_mut().filter(|shard| shard.desk.has_tenants()) {
                shard.desk.ask(asked.filter(|_| shard.wait.is_some()));
            }
        }
        has_come
    }

    /// By how many bytes the cell of a claim would be larger than the one that its receiver has.
    fn more_bytes(&self, id: u32) -> Option<u32> {
        let held = self.receiver(id).cell.filter(|&cell| cell > 0).map_or(0, |cell| self.sizes[cell]);
        self.sizes[self.claimed_size(id)].checked_sub(held).filter(|&bytes| bytes > 0)
    }

    /// The buffers that receivers had, and that the shard held, are its no more.
    pub(in crate::model) fn end_shard(&mut self) -> Vec<u64> {
        let mut held = self.shard_mut().map_or(Vec::new(), |shard| std::mem::take(&mut shard.held));
        held.extend(self.requests.as_mut().expect("a pool has requests").end());
        held
    }

    pub(in crate::model) fn shard(&self) -> Option<&Shard> {
        self.requests.as_ref()?.shard()
    }

    pub(in crate::model) fn shard_mut(&mut self) -> Option<&mut Shard> {
        self.requests.as_mut()?.shard_mut()
    }

    /// There may be something that was assigned to a wait of this thread.
    pub(in crate::model) fn is_called(&self) -> bool {
        self.shard().is_some_and(|shard| shard.desk.is_called())
    }

    /// A request of the host's own that waited, and has a buffer; of a thread, whether the lease has a deadline.
    pub(in crate::model) fn next_granted(&mut self) -> Option<(Notice, bool)> {
        match self.shard_mut() {
            Some(shard) => shard.pick_up(),
            None => Some((self.call_scheduler(System::poll_notice)?, false)),
        }
    }

    /// A request of the host's own.
    pub(in crate::model) fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        match self.shard_mut() {
            Some(shard) => shard.request(ask),
            None => self.call_scheduler(|scheduler| scheduler.request_timed(ask, ask.has_deadline)),
        }
    }

    /// A lease of the host's own ends.
    pub(in crate::model) fn release_own(&mut self, lease: u64) -> Result<(), i32> {
        match self.shard_mut() {
            Some(shard) => shard.desk.release(lease),
            None => self.call_scheduler(|scheduler| scheduler.release(lease))?,
        }
        Ok(())
    }
}
