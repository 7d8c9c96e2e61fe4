//! Calls for one receiver, as one match on the kind of its pool.

use super::any_pool::AnyPool;
use super::pool::size_of_index;
use super::status::status_of;
use super::step::demuxbuf_step;
use core::ptr::NonNull;
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{BufferSource, Pool, PoolError, ReceiverId};
use demuxbuf::receiving::ReceivingPool;

/// What the calls below need of a pool, of whichever kind. A receiver is in the row `index`.
pub(super) trait RowPool {
    fn find(&self, id: ReceiverId) -> Result<u32, PoolError>;
    fn area(&mut self, index: u32, is_receive: bool) -> Option<(NonNull<u8>, u32)>;
    fn handle(&mut self, id: ReceiverId, index: u32, event: Event) -> Result<Actions, PoolError>;
    fn decoded(&mut self, id: ReceiverId, index: u32, bytes: u32, need_more: u32) -> Result<Actions, PoolError>;
    fn decoded_usable(&mut self, id: ReceiverId, index: u32, report: DecodedUsable) -> Result<Actions, PoolError>;
    fn grow_at(&mut self, index: u32, size_index: u8) -> Result<Actions, PoolError>;
    fn pending_at(&self, index: u32) -> Actions;
}

/// The fast paths were tried before.
impl<S: BufferSource> RowPool for Pool<S> {
    #[inline(always)]
    fn find(&self, id: ReceiverId) -> Result<u32, PoolError> {
        Pool::find(self, id)
    }

    #[inline(always)]
    fn area(&mut self, index: u32, is_receive: bool) -> Option<(NonNull<u8>, u32)> {
        Pool::area(self, index, is_receive)
    }

    #[inline(always)]
    fn handle(&mut self, _id: ReceiverId, index: u32, event: Event) -> Result<Actions, PoolError> {
        self.handle_row(index, event)
    }

    #[inline(always)]
    fn decoded(&mut self, _id: ReceiverId, index: u32, bytes: u32, need_more: u32) -> Result<Actions, PoolError> {
        self.consume(index, bytes, need_more)
    }

    /// A receive takes all that there is room for.
    fn decoded_usable(&mut self, _id: ReceiverId, index: u32, report: DecodedUsable) -> Result<Actions, PoolError> {
        self.consume(index, report.consumed, report.need_more)
    }

    #[inline(always)]
    fn grow_at(&mut self, index: u32, size_index: u8) -> Result<Actions, PoolError> {
        Pool::grow_at(self, index, size_index)
    }

    #[inline(always)]
    fn pending_at(&self, index: u32) -> Actions {
        Pool::pending_at(self, index)
    }
}

/// With the fast paths. Each is a call of its own, since what is inlined here costs the other kinds instructions.
impl RowPool for ReceivingPool {
    #[cold]
    #[inline(never)]
    fn find(&self, id: ReceiverId) -> Result<u32, PoolError> {
        ReceivingPool::find(self, id)
    }

    #[cold]
    #[inline(never)]
    fn area(&mut self, index: u32, is_receive: bool) -> Option<(NonNull<u8>, u32)> {
        ReceivingPool::area(self, index, is_receive)
    }

    #[cold]
    #[inline(never)]
    fn handle(&mut self, id: ReceiverId, _index: u32, event: Event) -> Result<Actions, PoolError> {
        ReceivingPool::handle(self, id, event)
    }

    #[cold]
    #[inline(never)]
    fn decoded(&mut self, id: ReceiverId, _index: u32, bytes: u32, need_more: u32) -> Result<Actions, PoolError> {
        ReceivingPool::decoded(self, id, bytes, need_more)
    }

    fn decoded_usable(&mut self, id: ReceiverId, _index: u32, report: DecodedUsable) -> Result<Actions, PoolError> {
        ReceivingPool::decoded_usable(self, id, report.consumed, report.need_more, report.usable)
    }

    fn grow_at(&mut self, index: u32, size_index: u8) -> Result<Actions, PoolError> {
        ReceivingPool::grow_at(self, index, size_index)
    }

    fn pending_at(&self, index: u32) -> Actions {
        ReceivingPool::pending_at(self, index)
    }
}

/// A call for one receiver that returns a step: a type for each, so that the compiler sees through the guard which it
/// is.
pub(super) trait RowCall {
    fn run(self, pool: &mut impl RowPool, id: ReceiverId, index: u32) -> Result<Actions, i32>;
}

pub(super) struct Report(pub(super) Event);

impl RowCall for Report {
    #[inline(always)]
    fn run(self, pool: &mut impl RowPool, id: ReceiverId, index: u32) -> Result<Actions, i32> {
        pool.handle(id, index, self.0).map_err(status_of)
    }
}

pub(super) struct Decoded {
    pub(super) consumed: u32,
    pub(super) need_more: u32,
}

impl RowCall for Decoded {
    #[inline(always)]
    fn run(self, pool: &mut impl RowPool, id: ReceiverId, index: u32) -> Result<Actions, i32> {
        pool.decoded(id, index, self.consumed, self.need_more).map_err(status_of)
    }
}

pub(super) struct DecodedUsable {
    pub(super) consumed: u32,
    pub(super) need_more: u32,
    pub(super) usable: u32,
}

impl RowCall for DecodedUsable {
    fn run(self, pool: &mut impl RowPool, id: ReceiverId, index: u32) -> Result<Actions, i32> {
        pool.decoded_usable(id, index, self).map_err(status_of)
    }
}

pub(super) struct Grow {
    pub(super) size_index: u32,
}

impl RowCall for Grow {
    fn run(self, pool: &mut impl RowPool, _id: ReceiverId, index: u32) -> Result<Actions, i32> {
        pool.grow_at(index, size_of_index(self.size_index)?).map_err(status_of)
    }
}

pub(super) struct Pending;

impl RowCall for Pending {
    #[inline(always)]
    fn run(self, pool: &mut impl RowPool, _id: ReceiverId, index: u32) -> Result<Actions, i32> {
        Ok(pool.pending_at(index))
    }
}

/// The handle is checked, then this status is returned.
pub(super) struct Refuse(pub(super) i32);

impl RowCall for Refuse {
    fn run(self, _pool: &mut impl RowPool, _id: ReceiverId, _index: u32) -> Result<Actions, i32> {
        Err(self.0)
    }
}

/// The whole call for one kind of pool, so that a step costs one match.
#[inline(always)]
fn step_in(pool: &mut impl RowPool, id: ReceiverId, call: impl RowCall) -> Result<demuxbuf_step, i32> {
    let index = pool.find(id).map_err(status_of)?;
    let actions = call.run(pool, id, index)?;
    Ok(demuxbuf_step::at(pool.area(index, actions.has(Action::Recv)), actions))
}

impl AnyPool {
    #[inline(always)]
    pub(super) fn step(&mut self, id: ReceiverId, call: impl RowCall) -> Result<demuxbuf_step, i32> {
        match self {
            AnyPool::Own(pool) => step_in(pool, id, call),
            AnyPool::Shard(pool) => step_in(pool, id, call),
            AnyPool::Memory(pool) => step_in(pool, id, call),
        }
    }
}
