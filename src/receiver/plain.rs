//! A receive where nothing stands in the way: a buffer is free, all that came is decoded, nobody minds. Nearly all are.
//!
//! What `step` does for these in several rounds is done here in one; whatever is not that simple is left to it, unchanged.

use super::{ReceiverId, Receivers};
use crate::connection::{Action, Actions};
use crate::pool::Request;
#[cfg(feature = "ffi")]
use core::ptr::NonNull;

/// What came of the short way.
pub(crate) struct Plain {
    pub(crate) actions: Actions,
    /// Where the host goes on, if that is known without a look.
    area: Option<Area>,
}

/// Part of a buffer, at its front; or of none, if it has no bytes.
struct Area {
    buffer: u32,
    bytes: u32,
}

impl Area {
    const NONE: Area = Area { buffer: 0, bytes: 0 };
}

impl Receivers {
    /// A connection that holds nothing is readable and gets a buffer.
    #[inline(always)]
    pub(crate) fn begin_plainly(&mut self, id: ReceiverId) -> Option<Plain> {
        let pool = self.pool.own()?;
        let idle = self.table.find_idle(id)?;
        if !idle.connection().may_begin_plainly() {
            return None;
        }
        let (class, size) = (idle.class(), self.config.first_size);
        let request = Request { token: id.index().into(), tenant: None, class, size, is_timed: true };
        let buffer = pool.grant_at_once(&request, idle.tenant())?.index();
        self.memory.arena_mut().touch(buffer, |size| pool.free_indexes(size));
        let capacity = self.memory.arena().bytes_of(buffer);
        let actions = idle.hold(buffer).begin_plainly(capacity);
        // Else what is to come does not fit, and there is nothing to decode.
        let bytes = if actions.has(Action::Recv) { capacity } else { 0 };
        Some(Plain { actions, area: Some(Area { buffer, bytes }) })
    }

    /// A connection that holds a buffer has received, and there is room left in it.
    #[inline(always)]
    pub(crate) fn receive_plainly(&mut self, id: ReceiverId, bytes: u32) -> Option<Plain> {
        let mut holder = self.table.find_holder(id)?;
        // Else the machine knows not how much room is behind the content.
        if holder.start() > 0 {
            return None;
        }
        let actions = holder.connection().receive_plainly(bytes)?;
        let area = Area { buffer: holder.buffer(), bytes: holder.connection().level() };
        self.counts.received_bytes += u64::from(bytes);
        if actions.has(Action::Demux) {
            return Some(Plain { actions, area: Some(area) });
        }
        Some(Plain { actions: self.settle(id.index(), actions), area: None })
    }

    /// All that a connection holds is decoded, nothing more is there to be received, and it gives its buffer back.
    #[inline(always)]
    pub(crate) fn finish_plainly(&mut self, id: ReceiverId, bytes: u32) -> Option<Plain> {
        let pool = self.pool.own()?;
        let mut holder = self.table.find_holder(id)?;
        let actions = holder.connection().finish_plainly(bytes)?;
        let buffer = holder.buffer();
        holder.drop_buffer();
        pool.release_at(buffer);
        self.counts.consumed_bytes += u64::from(bytes);
        Some(Plain { actions, area: Some(Area::NONE) })
    }
    /// Where the host goes on, for C: an address and a length, as [`area`](Receivers::area).
    #[cfg(feature = "ffi")]
    #[inline(always)]
    pub(crate) fn area_of(&mut self, id: ReceiverId, plain: &Plain) -> Option<(NonNull<u8>, u32)> {
        match plain.area {
            Some(Area { buffer, bytes }) => (bytes > 0).then(|| (self.memory.arena().address(buffer), bytes)),
            None => self.area(id.index(), plain.actions.has(Action::Recv)),
        }
    }
}
