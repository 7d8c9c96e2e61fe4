//! Tenants: who has a fair share.

use super::pool::{demuxbuf_pool, status, status_of, with_pool, with_pool_ref};
use super::status::*;
use demuxbuf::scheduler::{TenantConfig, TenantId};

/// What a tenant may have. Counts are buffers of the default size.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_tenant_config {
    /// `sizeof(demuxbuf_tenant_config)`.
    pub struct_size: u32,
    /// Share of the grants of a class, relative to the other tenants that wait: 1 to 1000.
    pub weight: u32,
    /// Buffers it gets before those who have their guaranteed share already; others borrow them meanwhile.
    pub guaranteed: u32,
    /// The most buffers it may have; UINT32_MAX for no cap.
    pub cap: u32,
}

/// How a tenant stands.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct demuxbuf_tenant_info {
    /// Grants it got.
    pub granted: u64,
    /// Its weight.
    pub weight: u32,
    /// What it has out, in units of the pool's budget: buffers, if there is one size.
    pub outstanding_units: u32,
    /// Its requests that wait.
    pub waiting: u32,
    /// Not 0: it is removed, and goes away with its last buffer, wait and receiver.
    pub retiring: u32,
}

/// Takes a tenant in: somebody the host trusts to be one party (a listener, a customer, an address prefix).
///
/// Thread rule: one thread at a time per pool. Cost: O(1), no allocation.
/// Returns `DEMUXBUF_OK` and writes `*tenant`, never 0; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CONFIG` (a wrong `struct_size`), `DEMUXBUF_ERR_RANGE` (weight, cap, or a guarantee above what is left),
/// `DEMUXBUF_ERR_TABLE_FULL`, `DEMUXBUF_ERR_TENANTS_UNSUPPORTED` (a shared pool).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_create_tenant(
    pool: *mut demuxbuf_pool,
    tenant_config: *const demuxbuf_tenant_config,
    tenant: *mut u64,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let (Some(tenant_config), Some(tenant)) = (unsafe { tenant_config.as_ref() }, unsafe { tenant.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    if tenant_config.struct_size as usize != size_of::<demuxbuf_tenant_config>() {
        return DEMUXBUF_ERR_CONFIG;
    }
    let tenant_config =
        TenantConfig { weight: tenant_config.weight, guaranteed: tenant_config.guaranteed, cap: tenant_config.cap };
    match with_pool(pool, |pool| {
        let created = pool.create_tenant(&tenant_config).map_err(status_of)?;
        Ok(pool.salted(created.to_bits()))
    }) {
        Ok(created) => {
            *tenant = created;
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

/// Removes a tenant. Receivers that request in its name go on to do so; it goes away with the last of them, and with its
/// last buffer and wait.
///
/// Thread rule: one thread at a time per pool. Cost: O(1).
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_TENANTS_UNSUPPORTED` (a shared pool).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_remove_tenant(pool: *mut demuxbuf_pool, tenant: u64) -> i32 {
    status(with_pool(pool, |pool| pool.remove_tenant(TenantId::from_bits(pool.salted(tenant))).map_err(status_of)))
}

/// Writes how a tenant stands, also while it is going away.
///
/// Thread rule: one thread at a time per pool.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_TENANTS_UNSUPPORTED` (a shared pool), and nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_describe_tenant(
    pool: *const demuxbuf_pool,
    tenant: u64,
    info: *mut demuxbuf_tenant_info,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(info) = (unsafe { info.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(with_pool_ref(pool, |pool| {
        let found = pool.describe_tenant(TenantId::from_bits(pool.salted(tenant))).map_err(status_of)?;
        *info = demuxbuf_tenant_info {
            granted: found.granted,
            weight: found.weight,
            outstanding_units: found.outstanding_units,
            waiting: found.waiting,
            retiring: found.is_retiring.into(),
        };
        Ok(())
    }))
}
