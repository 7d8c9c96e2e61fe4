//! Buffers of the host's own.

use super::ModelPool;
use crate::model::{ModelReceiving, ModelScheduler};
use crate::system::{Ask, Asked, Notice, Taken};
use demuxbuf::connection::Event;
use demuxbuf_capi::*;

impl ModelPool {
    pub(super) fn request_own(&mut self, ask: Ask) -> Result<Asked, i32> {
        let asked = self.ask(ask, |memory| memory.request(ask))?;
        if let Asked::Lease(lease) = asked {
            self.begin_lease(lease, ask.token, ask.has_deadline);
        }
        Ok(asked)
    }

    pub(super) fn try_request_own(&mut self, ask: Ask) -> Result<Option<u64>, i32> {
        let try_request = |scheduler: &mut ModelScheduler| scheduler.try_request_timed(ask, ask.has_deadline);
        let lease = self.ask(ask, |memory| memory.call_scheduler(try_request))?;
        if let Some(lease) = lease {
            self.begin_lease(lease, ask.token, ask.has_deadline);
        }
        Ok(lease)
    }

    fn begin_lease(&mut self, lease: u64, token: u64, has_deadline: bool) {
        self.buffers.insert(lease, Vec::new());
        if let Some(deadlines) = self.deadlines.as_mut().filter(|_| has_deadline) {
            deadlines.start(lease, token);
        }
    }

    /// A request that is refused changes nothing.
    fn ask<T>(&mut self, ask: Ask, request: impl FnOnce(&mut ModelReceiving) -> Result<T, i32>) -> Result<T, i32> {
        if ask.has_deadline && self.config.lease_ns.is_none() {
            return Err(DEMUXBUF_ERR_DEADLINES_OFF);
        }
        if self.is_of_thread() {
            return self.ask_all(ask, request);
        }
        let before = self.memory.clone();
        self.memory.secure_borrow();
        let asked = request(&mut self.memory);
        if asked.is_err() {
            self.memory = before;
            self.memory.call_scheduler(|scheduler| scheduler.stats.scheduler.refused += 1);
        }
        asked
    }

    /// A request that waited and was granted.
    pub(super) fn next_lease(&mut self) -> Option<Notice> {
        let (granted, has_deadline) = self.memory.next_granted()?;
        if let Notice::Lease { lease, token, .. } = granted {
            self.begin_lease(lease, token, has_deadline);
        }
        Some(granted)
    }

    /// A lease that is held for too long while others wait.
    pub(super) fn next_overdue(&mut self) -> Option<Notice> {
        if self.is_of_thread() {
            return self.next_overdue_here();
        }
        let receivers_wait = self.memory.has_waiting_receivers();
        let (lease, token) = self.memory.call_scheduler(|scheduler| scheduler.overdue(receivers_wait))?;
        Some(Notice::Overdue { token, lease })
    }

    /// What a receiver has not decoded leaves with a buffer.
    pub(super) fn take_content(&mut self, id: u64) -> Result<Taken, i32> {
        self.follow_shed(id);
        if self.connection(id).in_flight() {
            return Err(DEMUXBUF_ERR_IN_FLIGHT);
        }
        self.check_not_in_place(id)?;
        self.check_not_looked_at(id)?;
        self.check_nothing_owed(id)?;
        let content = self.connection(id).content();
        if content.is_empty() {
            return Err(DEMUXBUF_ERR_NO_BUFFER);
        }
        self.memory.make_ready();
        self.memory.secure_borrow();
        let row = self.row(id);
        let left = self.memory.take(row).ok_or(DEMUXBUF_ERR_NO_BUFFER_FREE)?;
        let taken = Taken { lease: left.lease, offset: left.offset, buffered_bytes: content.len() as u32 };
        let mut memory = vec![None; left.offset as usize];
        memory.extend(content);
        self.buffers.insert(left.lease, memory);
        self.counts.taken_bytes += u64::from(taken.buffered_bytes);
        if self.connection(id).facts().waiting {
            // It asks anew.
            self.feed(id, Event::BufferGranted { capacity: self.config.buffer_bytes });
        }
        self.feed(id, Event::BufferReleased);
        self.settle(id);
        Ok(taken)
    }

    /// Whether the host and receivers have this many buffers.
    pub(super) fn has_all(&self, leased: u32) -> bool {
        self.memory.taken() + self.buffers.len() as u32 == leased
    }
}
