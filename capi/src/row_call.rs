//! Calls for one receiver, as one match on the kind of its pool.

use super::any_pool::AnyPool;
use super::event::done;
use super::status::status_of;
use super::step::demuxbuf_step;
use demuxbuf::connection::Event;
use demuxbuf::pool::{BufferSource, Pool, RawStep, ReceiverId};

/// A call for one receiver that returns a step, where the fast path does not apply.
pub(super) trait RowCall {
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<RawStep, i32>;
}

pub(super) struct Report(pub(super) Event);

impl RowCall for Report {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<RawStep, i32> {
        pool.row_step(index, self.0).map_err(status_of)
    }
}

/// As `Report` of `Done`; a type of its own is compiled for this event alone.
pub(super) struct Done(pub(super) u32);

impl RowCall for Done {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<RawStep, i32> {
        pool.row_step(index, done(self.0)).map_err(status_of)
    }
}

/// As `Report` of `Received`, as `Done`.
pub(super) struct Received(pub(super) u32);

impl RowCall for Received {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<RawStep, i32> {
        pool.row_step(index, Event::Received { bytes: self.0 }).map_err(status_of)
    }
}

/// As `Report` of `Close`, as `Done`.
pub(super) struct Close;

impl RowCall for Close {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<RawStep, i32> {
        pool.row_step(index, Event::Close).map_err(status_of)
    }
}

pub(super) struct Decoded {
    pub(super) consumed: u32,
    pub(super) need_more: u32,
    pub(super) usable: u32,
}

impl RowCall for Decoded {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<RawStep, i32> {
        pool.row_decoded(index, self.consumed, self.need_more, self.usable).map_err(status_of)
    }
}

/// A receive brought this many bytes, and all that is there is decoded.
pub(super) struct ReceivedAndDecoded(pub(super) u32);

impl RowCall for ReceivedAndDecoded {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<RawStep, i32> {
        let actions = pool.receive_and_decode_row(index, self.0).map_err(status_of)?;
        Ok(pool.placed(index, actions))
    }
}

pub(super) struct Pending;

impl RowCall for Pending {
    #[inline(always)]
    fn run<S: BufferSource>(self, pool: &mut Pool<S>, index: u32) -> Result<RawStep, i32> {
        Ok(pool.placed(index, pool.pending_at(index)))
    }
}

/// The handle is checked, then this status is returned.
pub(super) struct Refuse(pub(super) i32);

impl RowCall for Refuse {
    #[inline(always)]
    fn run<S: BufferSource>(self, _pool: &mut Pool<S>, _index: u32) -> Result<RawStep, i32> {
        Err(self.0)
    }
}

/// The whole call for one kind of pool, so that a step costs one match.
#[inline(always)]
fn step_in<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, call: impl RowCall) -> Result<demuxbuf_step, i32> {
    // The handle may end with the call.
    let index = pool.find(id).map_err(status_of)?;
    call.run(pool, index).map(demuxbuf_step::raw)
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
