//! A receive where nothing stands in the way: a buffer is free, all that came is decoded, nobody minds. Nearly all are.
//!
//! What `step` does for these in several rounds is done here in one; whatever is not that simple is left to it, unchanged.

use super::{ReceiverId, Receivers};
use crate::connection::Actions;
use crate::pool::Request;
#[cfg(feature = "ffi")]
use core::ptr::NonNull;

/// What came of the short way.
pub(crate) struct Plain {
    pub(crate) actions: Actions,
    /// Where the host goes on.
    #[cfg_attr(not(feature = "ffi"), allow(dead_code, reason = "only C is told where"))]
    area: Area,
}

/// Where a buffer starts and so many bytes; nowhere, if there are none.
#[cfg_attr(not(feature = "ffi"), allow(dead_code, reason = "only C is told where"))]
struct Area {
    buffer: u32,
    bytes: u32,
}

impl Receivers {
    /// A connection that holds nothing is readable and gets a buffer.
    #[inline(always)]
    pub(crate) fn begin_plainly(&mut self, id: ReceiverId) -> Option<Plain> {
        let pool = self.pool.own()?;
        let idle = self.table.find_idle(id)?;
        let (class, size) = (idle.class(), self.config.first_size);
        let bytes = self.memory.arena().buffer_bytes(size);
        if !idle.connection().may_begin_plainly(bytes) {
            return None;
        }
        let request = Request { token: id.index().into(), tenant: None, class, size, is_timed: true };
        if !self.memory.arena().is_there(pool.next_buffer(size)?) {
            return None;
        }
        let buffer = pool.grant_plainly(&request, idle.tenant())?;
        let actions = idle.hold(buffer).begin_plainly(bytes);
        Some(Plain { actions, area: Area { buffer, bytes } })
    }

    /// A connection that holds a buffer has received what its decoder can go on with, and there is room left.
    #[inline(always)]
    pub(crate) fn receive_plainly(&mut self, id: ReceiverId, bytes: u32) -> Option<Plain> {
        let mut holder = self.table.find_holder(id)?;
        // Else the machine knows not how much room is behind the content.
        if holder.start() > 0 {
            return None;
        }
        let (buffer, connection) = (holder.buffer(), holder.connection());
        let actions = connection.receive_plainly(bytes)?;
        self.counts.received_bytes += u64::from(bytes);
        Some(Plain { actions, area: Area { buffer, bytes: connection.level() } })
    }

    /// All that a connection holds is decoded, nothing more is there to be received, and it gives its buffer back.
    #[inline(always)]
    pub(crate) fn finish_plainly(&mut self, id: ReceiverId, bytes: u32) -> Option<Plain> {
        let pool = self.pool.own()?;
        let mut holder = self.table.find_holder(id)?;
        if !holder.connection().may_finish_plainly(bytes) || !pool.release_plainly(holder.buffer()) {
            return None;
        }
        let actions = holder.connection().finish_plainly();
        holder.drop_buffer();
        self.counts.consumed_bytes += u64::from(bytes);
        Some(Plain { actions, area: Area { buffer: 0, bytes: 0 } })
    }

    /// A connection that holds nothing is watched again.
    #[inline(always)]
    pub(crate) fn arm_plainly(&mut self, id: ReceiverId) -> Option<Plain> {
        let actions = self.table.find_idle(id)?.connection_mut().arm_plainly()?;
        Some(Plain { actions, area: Area { buffer: 0, bytes: 0 } })
    }

    /// Where the host goes on, for C: an address and a length, as [`area`](Receivers::area).
    #[cfg(feature = "ffi")]
    #[inline(always)]
    pub(crate) fn area_of(&self, plain: &Plain) -> Option<(NonNull<u8>, u32)> {
        let Area { buffer, bytes } = plain.area;
        (bytes > 0).then(|| (self.memory.arena().address(buffer), bytes))
    }
}
