//! Receivers that move, and threads that come and go.

use super::{Exported, Play, Receiver};
use crate::system::{System, ThreadSystem};
use demuxbuf::connection::Event;
use demuxbuf_capi::DEMUXBUF_ERR_STALE;

impl Play {
    /// A thread looks until there is nothing, and names others, before it sleeps.
    pub(super) fn settle(&mut self, at: usize) -> Result<(), String> {
        for _ in 0..4 * (self.receivers.len() + self.waits.len()) + 64 {
            if !self.poll(at)? {
                let named: Vec<usize> = self.pools[at]
                    .as_mut()
                    .map_or_else(Vec::new, |pool| std::iter::from_fn(|| pool.poll_wake()).collect());
                self.awake.extend(named);
                return Ok(());
            }
            self.check()?;
        }
        Err("the notices have no end".into())
    }

    /// Each thread with a reason to look does. Then none has anything to pick up, but for what follows from what
    /// tenants hold on other threads.
    pub(super) fn rest(&mut self) -> Result<(), String> {
        for _ in 0..64 {
            if let Some(shared_pool) = &self.shared_pool {
                self.awake.extend(std::iter::from_fn(|| shared_pool.poll_wake()));
            }
            let Some(&at) = self.awake.first() else {
                return (0..self.pools.len()).try_for_each(|at| match self.poll(at)? {
                    true if !self.has_tenants => Err(format!("thread {at} has a notice, and was not signalled")),
                    _ => self.settle(at),
                });
            };
            self.settle(at)?;
        }
        Err("threads signal each other without end".into())
    }

    pub(super) fn export(&mut self, nth: usize) -> Result<bool, String> {
        let Some(at) = self.which(nth) else { return Ok(false) };
        let Receiver { home, id, .. } = self.receivers[at];
        let Ok(value) = self.home(at).export(id) else { return Ok(false) };
        let Receiver { token, undecoded, .. } = self.receivers.remove(at);
        self.closed.push((home, id));
        self.exported.push(Exported { value, token, undecoded });
        Ok(true)
    }

    /// Of the copies of an exported receiver one is taken in.
    pub(super) fn import(&mut self, thread: usize, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.exported.len()) else { return Ok(()) };
        let at = thread % self.pools.len();
        self.awake.insert(at);
        let Some(pool) = self.pools[at].as_mut() else { return Ok(()) };
        let exported = &mut self.exported[nth];
        let mut copy = exported.value.clone();
        let Ok(id) = pool.import(&mut exported.value) else { return Ok(()) };
        let again = [pool.import(&mut copy), pool.import(&mut exported.value)];
        if again != [Err(DEMUXBUF_ERR_STALE); 2] {
            return Err(format!("it is imported again: {again:?}"));
        }
        let Exported { token, undecoded, .. } = self.exported.remove(nth);
        self.receivers.push(Receiver::new(at, id, token, undecoded));
        Ok(())
    }

    /// A handle means nothing to another thread.
    pub(super) fn elsewhere(&mut self, nth: usize, thread: usize) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let Receiver { home, id, .. } = self.receivers[at];
        match self.pool(thread) {
            Some((there, pool)) if there != home => {
                let outcomes = [pool.report(id, Event::Close).err(), pool.export(id).err(), pool.take(id).err()];
                if outcomes == [Some(DEMUXBUF_ERR_STALE); 3] { Ok(()) } else { Err(format!("elsewhere: {outcomes:?}")) }
            }
            _ => Ok(()),
        }
    }

    /// A thread ends, with its receivers and waits. What was exported and leased stays.
    pub(super) fn free(&mut self, thread: usize) -> Result<(), String> {
        let at = thread % self.pools.len();
        self.end_receives(at)?;
        self.pools[at] = None;
        self.drained.remove(&at);
        self.receivers.retain(|receiver| receiver.home != at);
        self.closed.retain(|&(home, _)| home != at);
        self.waits.retain(|&(home, ..)| home != at);
        if let Some(shared_pool) = &self.shared_pool {
            self.awake.extend(std::iter::from_fn(|| shared_pool.poll_wake()));
        } else {
            // There is nothing to ask any more.
            self.awake.extend(0..self.pools.len());
        }
        Ok(())
    }

    pub(super) fn shard(&mut self, thread: usize) -> Result<(), String> {
        let at = thread % self.pools.len();
        let Some(shared_pool) = &self.shared_pool else { return Ok(()) };
        match (shared_pool.shard(at as u32), &self.pools[at]) {
            (Ok(_), Some(_)) => Err("a thread has two pools".into()),
            (Err(_), Some(_)) => Ok(()),
            (Err(status), None) => Err(format!("a thread that is over gets no pool: {status}")),
            (Ok(mut pool), None) => {
                pool.tick(self.now_ns);
                self.pools[at] = Some(pool);
                self.awake.insert(at);
                Ok(())
            }
        }
    }
}
