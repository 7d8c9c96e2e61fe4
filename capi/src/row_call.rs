//! Calls for one receiver, as one match on the kind of its pool.

use super::any_pool::AnyPool;
use super::status::status_of;
use super::step::demuxbuf_step;
use demuxbuf::connection::{Actions, Event};
use demuxbuf::pool::{BufferSource, Pool, ReceiverId};

/// A call for one receiver that returns a step, where the fast path does not apply.
pub(super) trait RowCall {
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<Actions, i32>;
}

pub(super) struct Report(pub(super) Event);

impl RowCall for Report {
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<Actions, i32> {
        pool.handle_row(index, self.0).map_err(status_of)
    }
}

pub(super) struct Decoded {
    pub(super) consumed: u32,
    pub(super) need_more: u32,
    pub(super) usable: u32,
}

impl RowCall for Decoded {
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<Actions, i32> {
        pool.consume_row(index, self.consumed, self.need_more, self.usable).map_err(status_of)
    }
}

/// A receive brought this many bytes, and all that is there is decoded.
pub(super) struct ReceivedAndDecoded(pub(super) u32);

impl RowCall for ReceivedAndDecoded {
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<Actions, i32> {
        pool.receive_and_decode_row(index, self.0).map_err(status_of)
    }
}

pub(super) struct Pending;

impl RowCall for Pending {
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<Actions, i32> {
        Ok(pool.pending_at(index))
    }
}

/// The handle is checked, then this status is returned.
pub(super) struct Refuse(pub(super) i32);

impl RowCall for Refuse {
    fn run<S: BufferSource>(self, _pool: &mut Pool<S>, _index: u32) -> Result<Actions, i32> {
        Err(self.0)
    }
}

/// The whole call for one kind of pool, so that a step costs one match.
fn step_in<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, call: impl RowCall) -> Result<demuxbuf_step, i32> {
    // The handle may end with the call.
    let index = pool.find(id).map_err(status_of)?;
    let actions = call.run(pool, index)?;
    Ok(demuxbuf_step::at(pool.place(index, actions), actions))
}

impl AnyPool {
    pub(super) fn step(&mut self, id: ReceiverId, call: impl RowCall) -> Result<demuxbuf_step, i32> {
        match self {
            AnyPool::Own(pool) => step_in(pool, id, call),
            AnyPool::Shard(pool) => step_in(pool, id, call),
        }
    }
}
