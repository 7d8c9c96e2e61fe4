//! What the host has beside its receivers: buffers, requests that wait, tenants.

use super::{Play, Receiver, refused};
use demuxbuf::pool::{AttachOptions, LeasedContent};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, TenantConfig, TenantId};

impl Play {
    pub(super) fn adopt(
        &mut self,
        unknown_length: usize,
        nth: usize,
        offset: u32,
        buffered_bytes: u32,
    ) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.leases.len()) else { return Ok(()) };
        self.tokens += 1;
        let (before, token, lease) = (self.seen(), self.tokens, self.leases[nth].0);
        let outcome = self.pool.adopt(
            &AttachOptions { unknown_length: unknown_length % 2 == 1, ..AttachOptions::new(0, token) },
            LeasedContent { lease, offset, buffered_bytes },
        );
        if let Some(id) = self.ended(&before, outcome)? {
            let (_, content) = self.leases.remove(nth);
            let undecoded = content[offset as usize..][..buffered_bytes as usize].to_vec();
            self.receivers.push(Receiver { id, token, undecoded, seen: 0, in_flight: None, is_closed: false });
            refused(self.pool.release(lease))?;
        }
        Ok(())
    }

    pub(super) fn take(&mut self, nth: usize) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let before = self.seen();
        let outcome = self.pool.take(self.receivers[at].id);
        // Content that may be evicted makes room, also if that is not enough.
        let Ok(content) = outcome else { return Ok(()) };
        let LeasedContent { lease, offset, buffered_bytes } = content;
        let buffer = self.pool.buffer(lease).map_err(|error| error.to_string())?;
        let taken = &buffer[offset as usize..][..buffered_bytes as usize];
        if taken != self.receivers[at].undecoded {
            return Err(format!("{taken:?} left; undecoded was {:?}, {before:?}", self.receivers[at].undecoded));
        }
        self.receivers[at].undecoded.clear();
        self.lease(lease)
    }

    /// The host has a buffer of its own, and writes to it.
    pub(super) fn lease(&mut self, lease: LeaseId) -> Result<(), String> {
        let content = self.sent(self.buffer_bytes);
        self.pool.buffer(lease).map_err(|error| error.to_string())?.copy_from_slice(&content);
        self.leases.push((lease, content));
        Ok(())
    }

    pub(super) fn create_tenant(&mut self, weight: u32, guaranteed: u32, cap: u32) -> Result<(), String> {
        self.tenants.extend(self.pool.create_tenant(&TenantConfig { weight, guaranteed, cap }));
        Ok(())
    }

    pub(super) fn remove_tenant(&mut self, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.tenants.len()) else { return Ok(()) };
        let tenant = self.tenants.remove(nth);
        self.pool.remove_tenant(tenant).map_err(|error| error.to_string())?;
        refused(self.pool.remove_tenant(tenant))
    }

    /// The tenant of this number, from 1; else none.
    fn tenant(&self, nth: usize) -> Option<TenantId> {
        nth.checked_sub(1).and_then(|nth| self.tenants.get(nth)).copied()
    }

    pub(super) fn belong(&mut self, nth: usize, tenant: usize) -> Result<(), String> {
        let (Some(at), tenant) = (self.which(nth), self.tenant(tenant)) else { return Ok(()) };
        self.pool.set_tenant(self.receivers[at].id, tenant).map_err(|error| error.to_string())
    }

    pub(super) fn request(&mut self, class: u8, tenant: usize) -> Result<(), String> {
        self.tokens += 1;
        let request = Request { tenant: self.tenant(tenant), ..Request::new(class, self.tokens) };
        match self.pool.request_for(&request) {
            Ok(Outcome::Granted(lease)) => self.lease(lease),
            Ok(Outcome::Queued(wait)) => {
                self.waits.push((wait, self.tokens));
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    pub(super) fn release(&mut self, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.leases.len()) else { return Ok(()) };
        let (lease, _) = self.leases.remove(nth);
        self.pool.release(lease).map_err(|error| error.to_string())?;
        refused(self.pool.release(lease))
    }

    pub(super) fn cancel(&mut self, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.waits.len()) else { return Ok(()) };
        let (wait, _) = self.waits.remove(nth);
        self.pool.cancel(wait).map_err(|error| error.to_string())
    }

    /// Uses this many buffers at most, from the next advance of the clock on.
    pub(super) fn set_limit(&mut self, buffers: u64) -> Result<(), String> {
        let (before, all) = (self.seen(), self.pool.memory().split().buffers);
        let outcome = self.pool.set_memory_limit(buffers * u64::from(self.buffer_bytes));
        if self.ended(&before, outcome)?.is_some() {
            let used = u32::try_from(buffers).ok().filter(|used| (8..=all).contains(used));
            self.withheld = all - used.ok_or("a limit is accepted that is out of range")?;
        }
        Ok(())
    }

    pub(super) fn set_times(&mut self, frame_grace_ns: u64, blocked_ns: u64) -> Result<(), String> {
        let before = self.seen();
        let outcome = self.pool.set_times(frame_grace_ns, blocked_ns);
        let is_accepted = self.ended(&before, outcome)?.is_some();
        let is_short = frame_grace_ns < 8 || blocked_ns < 8;
        if is_accepted && is_short { Err("times are accepted that are too short".into()) } else { Ok(()) }
    }
}
