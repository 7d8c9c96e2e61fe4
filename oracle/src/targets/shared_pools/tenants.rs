//! Tenants of all threads: they come and go on any, and receivers and requests are in their name.

use super::{Play, Receiver};
use crate::system::System;
use demuxbuf::scheduler::TenantConfig;
use demuxbuf_capi::DEMUXBUF_ERR_STALE;

impl Play {
    pub(super) fn create_tenant(&mut self, thread: usize, tenant_config: TenantConfig) -> Result<(), String> {
        let Some((_, pool)) = self.pool(thread) else { return Ok(()) };
        let created = pool.create_tenant(tenant_config);
        self.has_tenants |= created.is_ok();
        self.tenants.extend(created);
        Ok(())
    }

    /// The handle is over; receivers, waits and leases stay in the tenant until they leave it.
    pub(super) fn remove_tenant(&mut self, thread: usize, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.tenants.len()) else { return Ok(()) };
        let tenant = self.tenants[nth];
        let Some((_, pool)) = self.pool(thread) else { return Ok(()) };
        let outcomes = [pool.remove_tenant(tenant), pool.remove_tenant(tenant)];
        self.tenants.remove(nth);
        if outcomes == [Ok(()), Err(DEMUXBUF_ERR_STALE)] { Ok(()) } else { Err(format!("removed: {outcomes:?}")) }
    }

    /// A receiver is in the name of a tenant from now on.
    pub(super) fn belong(&mut self, nth: usize, tenant: usize) -> Result<(), String> {
        let (Some(at), tenant) = (self.which(nth), self.tenant(tenant)) else { return Ok(()) };
        let Receiver { id, is_closing, .. } = self.receivers[at];
        match self.home(at).set_tenant(id, tenant) {
            Err(status) if !is_closing => Err(format!("a tenant is refused with {status}")),
            _ => Ok(()),
        }
    }

    /// The tenant of this number, from 1; else none.
    pub(super) fn tenant(&self, nth: usize) -> Option<u64> {
        nth.checked_sub(1).and_then(|nth| self.tenants.get(nth)).copied()
    }
}
