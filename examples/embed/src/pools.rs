//! What the servers on tokio ask of a pool, be it that of one thread or a thread's part of one that threads share.

use demuxbuf::connection::{Actions, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolError, PoolStats, ReceiverId};
use demuxbuf::receiving::ReceivingPool;
use demuxbuf::shared::PoolShard;

/// Each is the call of the same name of a pool.
#[allow(missing_docs, reason = "the pool has it")]
pub trait HostPool {
    fn attach(&mut self, options: &AttachOptions) -> Result<ReceiverId, PoolError>;
    fn handle(&mut self, id: ReceiverId, event: Event) -> Result<Actions, PoolError>;
    fn decoded(&mut self, id: ReceiverId, consumed_bytes: u32, needed_bytes: u32) -> Result<Actions, PoolError>;
    fn pending(&self, id: ReceiverId) -> Result<Actions, PoolError>;
    fn receive_area(&mut self, id: ReceiverId) -> Result<&mut [u8], PoolError>;
    fn data(&self, id: ReceiverId) -> Result<&[u8], PoolError>;
    fn handle_timeout(&mut self, now_ns: u64);
    fn poll_timeout(&self) -> Option<u64>;
    fn poll_notice(&mut self) -> Option<Notice>;
    /// A thread that has something to pick up; none on a pool of one thread.
    fn poll_wake(&mut self) -> Option<u32>;
    fn stats(&self) -> PoolStats;
    fn check_invariants(&self) -> Result<(), &'static str>;
}

macro_rules! host_pool {
    ($pool:ty) => {
        impl HostPool for $pool {
            fn attach(&mut self, options: &AttachOptions) -> Result<ReceiverId, PoolError> {
                self.attach(options)
            }

            fn handle(&mut self, id: ReceiverId, event: Event) -> Result<Actions, PoolError> {
                self.handle(id, event)
            }

            fn decoded(&mut self, id: ReceiverId, consumed: u32, needed: u32) -> Result<Actions, PoolError> {
                self.decoded(id, consumed, needed)
            }

            fn pending(&self, id: ReceiverId) -> Result<Actions, PoolError> {
                self.pending(id)
            }

            fn receive_area(&mut self, id: ReceiverId) -> Result<&mut [u8], PoolError> {
                self.receive_area(id)
            }

            fn data(&self, id: ReceiverId) -> Result<&[u8], PoolError> {
                self.data(id)
            }

            fn handle_timeout(&mut self, now_ns: u64) {
                self.handle_timeout(now_ns);
            }

            fn poll_timeout(&self) -> Option<u64> {
                self.poll_timeout()
            }

            fn poll_notice(&mut self) -> Option<Notice> {
                self.poll_notice()
            }

            fn poll_wake(&mut self) -> Option<u32> {
                self.poll_wake()
            }

            fn stats(&self) -> PoolStats {
                self.stats()
            }

            fn check_invariants(&self) -> Result<(), &'static str> {
                self.check_invariants()
            }
        }
    };
}

host_pool!(ReceivingPool);
host_pool!(Pool<PoolShard>);
