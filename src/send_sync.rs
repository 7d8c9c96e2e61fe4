//! Which public types move between threads, and which can be shared by them.
//!
//! The compiler asserts it with whatever features it builds: a type that gains or loses `Send` or `Sync` with some of
//! them breaks that build.

use crate::connection::{
    Action, Actions, ActionsIter, Connection, EndKind, Event, EventError, Hold, Mode, Policy, UnknownMode,
};
use crate::framing::{fcgi, h2};
use crate::memory::{Arena, Protection};
use crate::pool::{
    AttachOptions, Counts, Finding, FindingKind, LeasedContent, MemoryModelStats, Notice, Pool, PoolConfig, PoolError,
    PoolStats, ReceiverId, ReceiverInfo,
};
use crate::receiving::{self, Receiving};
use crate::scheduler::{
    Grant, LeaseId, LeaseInfo, NestedRequest, Outcome, Reclaim, ReclaimKind, ReclaimStats, Request, Scheduler,
    SchedulerConfig, SchedulerError, SchedulerStats, TenantConfig, TenantId, TenantInfo, WaitId, WaitInfo,
};
use crate::{Allowed, ConfigError};

/// Asserts that each type is `Send` and `Sync`.
macro_rules! assert_send_and_sync {
    ($($type:ty),+ $(,)?) => {
        const _: () = {
            const fn is_both<T: Send + Sync>() {}
            $(is_both::<$type>();)+
        };
    };
}

/// Asserts that each type is `Send` and not `Sync`: for one that is `Sync`, the two implementations are ambiguous.
macro_rules! assert_send_and_not_sync {
    ($($type:ty),+ $(,)?) => {
        $(const _: () = {
            const fn is_send<T: Send>() {}
            is_send::<$type>();
            trait Ambiguous<T> {
                const IS_CHECKED: bool = true;
            }
            impl<T> Ambiguous<()> for T {}
            #[allow(dead_code, reason = "it is there to be found")]
            struct Shared;
            impl<T: Sync> Ambiguous<Shared> for T {}
            assert!(<$type as Ambiguous<_>>::IS_CHECKED);
        };)+
    };
}

assert_send_and_not_sync!(Pool);
assert_send_and_sync!(Receiving, AttachOptions, MemoryModelStats, NestedRequest);
assert_send_and_sync!(receiving::ReceivingConfig, receiving::ReceivingError, receiving::Split);
assert_send_and_sync!(receiving::After, receiving::Begin, receiving::Borrowed, receiving::Facts, receiving::Notice);
assert_send_and_sync!(receiving::Rest, receiving::ShedReason, receiving::Totals);
assert_send_and_sync!(Scheduler, Connection, Arena);
assert_send_and_sync!(Action, Actions, ActionsIter, EndKind, Event, Hold, Mode, Policy);
assert_send_and_sync!(Notice, LeasedContent, Outcome, Request, Grant, Reclaim, ReclaimKind);
assert_send_and_sync!(LeaseId, WaitId, TenantId, ReceiverId);
assert_send_and_sync!(PoolConfig, Counts, SchedulerConfig, Protection, TenantConfig);
assert_send_and_sync!(Finding, FindingKind);
assert_send_and_sync!(PoolStats, SchedulerStats, ReclaimStats, LeaseInfo, WaitInfo, TenantInfo, ReceiverInfo);
assert_send_and_sync!(PoolError, SchedulerError, EventError, ConfigError, Allowed, UnknownMode);
assert_send_and_sync!(
    fcgi::Decoder,
    h2::Decoder,
    fcgi::Error,
    fcgi::ErrorCode,
    fcgi::Form,
    fcgi::Next,
    fcgi::RecordHeader,
    fcgi::Side,
    h2::Error,
    h2::ErrorCode,
    h2::FrameHeader,
    h2::Next,
    h2::Side
);

#[cfg(feature = "bytes")]
assert_send_and_sync!(crate::memory::Lease<'static>);

#[cfg(feature = "std")]
mod shared {
    use crate::pool::Pool;
    use crate::shared::{
        ExportedReceiver, PoolShard, SchedulerShard, SharedPool, SharedPoolError, SharedScheduler,
        SharedSchedulerError, SharedSchedulerStats,
    };

    assert_send_and_sync!(SharedPool, SharedScheduler, SharedSchedulerStats, SharedSchedulerError, SharedPoolError);
    /// After a panic they refuse by themselves what is half changed.
    #[cfg(not(loom))]
    const _: () = {
        const fn is_unwind_safe<T: core::panic::UnwindSafe + core::panic::RefUnwindSafe>() {}
        is_unwind_safe::<SharedPool>();
        is_unwind_safe::<SharedScheduler>();
    };
    assert_send_and_sync!(ExportedReceiver);
    assert_send_and_not_sync!(SchedulerShard, PoolShard, Pool<PoolShard>);
}
