//! Calls for one receiver, as one match on the kind of its pool.

use super::any_pool::AnyPool;
use super::status::status_of;
use super::step::demuxbuf_step;
use demuxbuf::connection::{Actions, Event};
use demuxbuf::pool::{BufferSource, Pool, ReceiverId};

/// A call for one receiver that returns a step: a type for each, so that the compiler sees through the guard which it
/// is.
pub(super) trait RowCall {
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, id: ReceiverId) -> Result<Actions, i32>;
}

pub(super) struct Report(pub(super) Event);

impl RowCall for Report {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, id: ReceiverId) -> Result<Actions, i32> {
        pool.handle(id, self.0).map_err(status_of)
    }
}

pub(super) struct Decoded {
    pub(super) consumed: u32,
    pub(super) need_more: u32,
    pub(super) usable: u32,
}

impl RowCall for Decoded {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, id: ReceiverId) -> Result<Actions, i32> {
        pool.decoded_usable(id, self.consumed, self.need_more, self.usable).map_err(status_of)
    }
}

pub(super) struct Pending;

impl RowCall for Pending {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, id: ReceiverId) -> Result<Actions, i32> {
        pool.pending(id).map_err(status_of)
    }
}

/// The handle is checked, then this status is returned.
pub(super) struct Refuse(pub(super) i32);

impl RowCall for Refuse {
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, id: ReceiverId) -> Result<Actions, i32> {
        pool.find(id).map_err(status_of)?;
        Err(self.0)
    }
}

/// The whole call for one kind of pool, so that a step costs one match.
#[inline(always)]
fn step_in<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, call: impl RowCall) -> Result<demuxbuf_step, i32> {
    // The handle may end with the call.
    let index = pool.find(id).map_err(status_of)?;
    let actions = call.run(pool, id)?;
    Ok(demuxbuf_step::at(pool.place(index, actions), actions))
}

impl AnyPool {
    #[inline(always)]
    pub(super) fn step(&mut self, id: ReceiverId, call: impl RowCall) -> Result<demuxbuf_step, i32> {
        match self {
            AnyPool::Own(pool) => step_in(pool, id, call),
            AnyPool::Shard(pool) => step_in(pool, id, call),
        }
    }
}
