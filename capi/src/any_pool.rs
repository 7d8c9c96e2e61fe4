//! What a `demuxbuf_pool` is: the pool of one thread, or that of a thread of a shared pool. Each call is one match, and
//! the rest of it is compiled for each kind.

use super::status::status_of;
use core::ptr::NonNull;
use demuxbuf::connection::{Actions, Policy};
use demuxbuf::memory::Reach;
use demuxbuf::pool::{
    AttachOptions, ConfigError, Delivery, FastPath, Finding, LeasedContent, Notice, Pool, PoolError, PoolStats,
    ReceiverId, ReceiverInfo,
};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, TenantConfig, TenantId, TenantInfo, WaitId};
use demuxbuf::shared::{Arriving, ExportedReceiver, PoolShard};

#[allow(clippy::large_enum_variant, reason = "it is made once, and moved to its place on the heap")]
#[repr(C)] // The pool is at the same place, of whichever kind it is.
pub(super) enum AnyPool {
    Own(Pool),
    Shard(Pool<PoolShard>),
}

/// A call of a pool, of whichever kind it is.
macro_rules! each {
    ($any:expr, $pool:ident => $call:expr) => {
        match $any {
            AnyPool::Own($pool) => $call,
            AnyPool::Shard($pool) => $call,
        }
    };
}

pub(super) use each;

/// Methods that are those of [`Pool`].
macro_rules! forward {
    ($(fn $name:ident(&$($mutable:ident)?; $($argument:ident: $type:ty),*) $(-> $output:ty)?;)*) => {
        $(
            #[inline]
            pub(super) fn $name(&$($mutable)? self, $($argument: $type),*) $(-> $output)? {
                each!(self, pool => pool.$name($($argument),*))
            }
        )*
    };
}

#[rustfmt::skip] // one line for each call
impl AnyPool {
    forward! {
        fn salt(&mut; salt: u32);
        fn salted(&; bits: u64) -> u64;
        fn attach_with(&mut; options: &AttachOptions, bytes: &[u8]) -> Result<ReceiverId, PoolError>;
        fn adopt_within(&mut; options: &AttachOptions, content: LeasedContent, reach: Reach)
            -> Result<ReceiverId, PoolError>;
        fn set_class(&mut; id: ReceiverId, class: u8) -> Result<(), PoolError>;
        fn set_policy(&mut; id: ReceiverId, policy: &Policy) -> Result<Actions, PoolError>;
        fn find(&; id: ReceiverId) -> Result<u32, PoolError>;
        fn prefetch(&; id: ReceiverId);
        fn place(&; index: u32, actions: Actions) -> (Option<NonNull<u8>>, u32);
        fn deliver(&mut; id: ReceiverId, bytes: &[u8]) -> Result<Delivery, PoolError>;
        fn delivered(&mut; id: ReceiverId, data: &[u8], consumed: u32, need_more: u32) -> Result<Actions, PoolError>;
        fn in_place_bytes(&; index: u32) -> u32;
        fn take(&mut; id: ReceiverId) -> Result<LeasedContent, PoolError>;
        fn describe(&; id: ReceiverId) -> Result<ReceiverInfo, PoolError>;
        fn set_tenant(&mut; id: ReceiverId, tenant: Option<TenantId>) -> Result<(), PoolError>;
        fn create_tenant(&mut; tenant_config: &TenantConfig) -> Result<TenantId, PoolError>;
        fn remove_tenant(&mut; tenant: TenantId) -> Result<(), PoolError>;
        fn describe_tenant(&; tenant: TenantId) -> Result<TenantInfo, PoolError>;
        fn request(&mut; class: u8, token: u64) -> Result<Outcome, PoolError>;
        fn request_for(&mut; request: &Request) -> Result<Outcome, PoolError>;
        fn try_request(&mut; request: &Request) -> Result<Option<LeaseId>, PoolError>;
        fn release_within(&mut; lease: LeaseId, reach: Reach) -> Result<(), PoolError>;
        fn renew_lease(&mut; lease: LeaseId) -> Result<(), PoolError>;
        fn cancel(&mut; wait: WaitId) -> Result<(), PoolError>;
        fn buffer_area(&; lease: LeaseId) -> Result<(NonNull<u8>, u32), PoolError>;
        fn lease_of_address(&; address: *const u8) -> Result<LeaseId, PoolError>;
        fn drain(&mut;);
        fn set_memory_limit(&mut; limit_bytes: u64) -> Result<(), ConfigError>;
        fn set_times(&mut; frame_grace_ns: u64, blocked_ns: u64) -> Result<(), ConfigError>;
        fn nothing_to_poll(&;) -> bool;
        fn poll_notice(&mut;) -> Option<Notice>;
        fn poll_wake(&mut;) -> Option<u32>;
        fn poll_audit(&mut; now_ns: u64) -> Result<Option<Finding>, PoolError>;
        fn handle_timeout(&mut; now_ns: u64);
        fn poll_timeout(&;) -> Option<u64>;
        fn bypass_bound(&;) -> u64;
        fn trim(&mut;) -> usize;
        fn stats(&;) -> PoolStats;
        fn check_invariants(&;) -> Result<(), &'static str>;
    }
}

impl AnyPool {
    /// The fast path of the pool, which is at the same place in pools of each kind.
    #[inline(always)]
    pub(super) fn fast_path(&mut self) -> FastPath<'_> {
        each!(self, pool => pool.fast_path())
    }
}

/// Calls that only the pool of a shard has.
impl AnyPool {
    #[inline(always)]
    pub(super) fn export_to(&mut self, id: ReceiverId, pass: impl FnOnce(ExportedReceiver)) -> Result<(), PoolError> {
        self.shard()?.export_to(id, pass)
    }

    #[inline(always)]
    pub(super) fn import(
        &mut self,
        arriving: Arriving<'_>,
        whole: impl FnOnce() -> Result<ExportedReceiver, i32>,
    ) -> Result<ReceiverId, i32> {
        let pool = self.shard().map_err(status_of)?;
        match pool.try_import(arriving) {
            Some(imported) => imported.map_err(status_of),
            None => pool.import(&mut whole()?).map_err(status_of),
        }
    }

    #[inline(always)]
    fn shard(&mut self) -> Result<&mut Pool<PoolShard>, PoolError> {
        match self {
            AnyPool::Own(_) => Err(PoolError::NotShared),
            AnyPool::Shard(pool) => Ok(pool),
        }
    }
}
