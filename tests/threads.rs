//! Which public types move between threads, and which can be shared by them. It is the same for every set of features.
//!
//! The assertions are made by the compiler: a type that gains or loses `Send` or `Sync` breaks the build of this file.

use demuxbuf::connection::{Action, Actions, ActionsIter, Connection, Event, EventError, Mode, Policy, UnknownMode};
use demuxbuf::framing::h2;
use demuxbuf::memory::{Arena, MemoryConfig, SlotError, SlotIndex, Slots};
use demuxbuf::pool::{LeasedContent, Notice, Pool, PoolConfig, PoolError, PoolStats, ReceiverId};
use demuxbuf::scheduler::{
    Grant, LeaseId, LeaseInfo, Outcome, Reclaim, ReclaimKind, Request, Scheduler, SchedulerConfig, SchedulerError,
    SchedulerStats, TenantConfig, TenantId, TenantInfo, WaitId, WaitInfo,
};
use demuxbuf::{Allowed, ConfigError};

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
assert_send_and_sync!(Scheduler, Connection, Arena, Slots, h2::Decoder);
assert_send_and_sync!(
    Action,
    Actions,
    ActionsIter,
    Event,
    Mode,
    Policy,
    Notice,
    LeasedContent,
    Outcome,
    Request,
    Grant
);
assert_send_and_sync!(LeaseId, WaitId, TenantId, ReceiverId, SlotIndex, Reclaim, ReclaimKind);
assert_send_and_sync!(PoolConfig, SchedulerConfig, MemoryConfig, TenantConfig);
assert_send_and_sync!(PoolStats, SchedulerStats, LeaseInfo, WaitInfo, TenantInfo, demuxbuf::pool::ReceiverInfo);
assert_send_and_sync!(PoolError, SchedulerError, EventError, ConfigError, Allowed, SlotError, UnknownMode, h2::Error);

#[cfg(feature = "std")]
mod shared {
    use demuxbuf::pool::Pool;
    use demuxbuf::shared::{ExportedReceiver, PoolShard, SharedPool, SharedPoolError};
    use demuxbuf::shared::{SchedulerShard, SharedScheduler, SharedSchedulerError, SharedSchedulerStats};

    assert_send_and_sync!(SharedPool, SharedScheduler, SharedSchedulerStats, SharedSchedulerError, SharedPoolError);
    assert_send_and_sync!(ExportedReceiver);
    assert_send_and_not_sync!(SchedulerShard, Pool<PoolShard>);
}

/// What the compiler asserts above holds for a program, too: a pool that was made here works on another thread.
#[test]
#[allow(clippy::disallowed_methods, reason = "the test is about threads")]
fn pool_moves_to_another_thread() {
    let mut pool = Pool::new(&PoolConfig::new(1, 1)).expect("the configuration is allowed");
    let attached = std::thread::spawn(move || pool.attach(0, 7).is_ok());
    assert!(attached.join().expect("no panic"));
}
