//! Tenants: parties that each have a fair share.

use super::any_pool::AnyPool;
use super::guard::{InPool, demuxbuf_pool};
use super::out::{Out, StructOut, growable, read_struct};
use super::pool::status;
use super::refusal::{Message, Refusal};
use super::size_t;
use super::status::*;
use core::ffi::c_char;
use demuxbuf::scheduler::{TenantConfig, TenantId};

/// What a tenant may have: buffers of the host's own in its name, and what its receivers keep. Counts are buffers.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_tenant_config {
    /// `sizeof(demuxbuf_tenant_config)`.
    pub struct_size: u32,
    /// Share, relative to the other tenants: 1 to 1000. What its receivers and leases hold is divided by it.
    pub weight: u32,
    /// Buffers it gets before tenants that have their guaranteed share already. Others borrow them meanwhile. While it
    /// holds no more, nothing of it is evicted before its deadline.
    pub guaranteed: u32,
    /// The most buffers it may have; UINT32_MAX for no cap. Its receivers may keep less than a buffer more for each
    /// that borrows.
    pub cap: u32,
}

growable!(demuxbuf_tenant_config, 16);

/// How a tenant stands.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct demuxbuf_tenant_info {
    /// `sizeof(demuxbuf_tenant_info)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
    /// Its weight.
    pub weight: u32,
    /// Grants it got.
    pub granted: u64,
    /// What it has outstanding, in buffers: leases, and what its receivers keep, rounded up.
    pub outstanding_units: u32,
    /// Its requests that wait.
    pub waiting: u32,
    /// Not 0: it is removed, and goes away with its last buffer, wait and receiver.
    pub retiring: u32,
    /// Always 0.
    pub reserved: u32,
}

growable!(demuxbuf_tenant_info, 32);

/// Creates a tenant: what you trust to be one party (a listener, a customer, an address prefix). In a shared pool it is
/// a tenant of all threads: each may use its handle.
///
/// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
/// Cost: O(1), no allocation.
/// Returns `DEMUXBUF_OK` and writes `*tenant`, never 0; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_RANGE` (weight, cap, or a guarantee above
/// what is left), `DEMUXBUF_ERR_TABLE_FULL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_create_tenant(
    pool: *mut demuxbuf_pool,
    tenant_config: *const demuxbuf_tenant_config,
    tenant: *mut u64,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let (Some(tenant), Some(message)) = (unsafe { Out::new(tenant) }, unsafe { Message::new(message, message_bytes) })
    else {
        return DEMUXBUF_ERR_NULL;
    };
    let create = |pool: &mut AnyPool| {
        // SAFETY: as the module asks.
        let tenant_config = unsafe { read_struct(tenant_config, demuxbuf_tenant_config::default())? };
        let demuxbuf_tenant_config { weight, guaranteed, cap, .. } = tenant_config;
        let created = pool.create_tenant(&TenantConfig { weight, guaranteed, cap })?;
        Ok(pool.salted(created.to_bits()))
    };
    match pool.with(|pool| create(pool).map_err(|refusal: Refusal| message.refuse(&refusal))) {
        Ok(created) => {
            tenant.write(created);
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

/// Removes a tenant. Receivers that request in its name go on to do so; it goes away with the last of them, and with
/// its last buffer and wait.
///
/// Cost: O(1).
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_remove_tenant(pool: *mut demuxbuf_pool, tenant: u64) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    status(pool.with(|pool| pool.remove_tenant(TenantId::from_bits(pool.salted(tenant))).map_err(status_of)))
}

/// Writes how a tenant stands, also while it is going away.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_STALE`, and nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_describe_tenant(
    pool: *const demuxbuf_pool,
    tenant: u64,
    info: *mut demuxbuf_tenant_info,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let info = match unsafe { StructOut::new(info) } {
        Ok(info) => info,
        Err(status) => return status,
    };
    status(pool.look(|pool| {
        let found = pool.describe_tenant(TenantId::from_bits(pool.salted(tenant))).map_err(status_of)?;
        info.write(demuxbuf_tenant_info {
            struct_size: size_of::<demuxbuf_tenant_info>() as u32,
            reserved: 0,
            granted: found.granted,
            weight: found.weight,
            outstanding_units: found.outstanding_units,
            waiting: found.waiting,
            retiring: found.is_retiring.into(),
        });
        Ok(())
    }))
}
