//! A receive where nothing stands in the way: a buffer is free, all that came is decoded, nobody minds. Nearly all are.
//!
//! What `step` does for these in several rounds is done here in one; whatever is not that simple is left to it, unchanged.

use super::{ReceiverError, Receivers};
use crate::connection::{Actions, Event};
use crate::pool::Request;

impl Receivers {
    /// As `handle` of `Readable`, of the receiver in this row.
    #[inline(always)]
    pub(crate) fn readable(&mut self, index: u32) -> Result<Actions, ReceiverError> {
        match self.begin_plainly(index) {
            Some(actions) => Ok(actions),
            None => self.report(index, Event::Readable),
        }
    }

    /// As `handle` of `Received`, of the receiver in this row.
    #[inline(always)]
    pub(crate) fn received(&mut self, index: u32, bytes: u32) -> Result<Actions, ReceiverError> {
        self.check_behind(index, bytes)?;
        match self.table.connection_mut(index).receive_plainly(bytes) {
            Some(actions) => {
                self.counts.received_bytes += u64::from(bytes);
                Ok(self.settle(index, actions))
            }
            None => self.receive(index, bytes),
        }
    }

    /// As `decoded`, of the receiver in this row.
    #[inline(always)]
    pub(crate) fn consumed(&mut self, index: u32, bytes: u32, need_more: u32) -> Result<Actions, ReceiverError> {
        match self.finish_plainly(index, bytes, need_more) {
            Some(actions) => Ok(actions),
            None => self.consume(index, bytes, need_more),
        }
    }

    /// A connection that holds nothing is readable and gets a buffer.
    #[inline(always)]
    fn begin_plainly(&mut self, index: u32) -> Option<Actions> {
        let tenant = self.table.idle_tenant(index)?;
        let pool = self.pool.own()?;
        if !self.table.connection(index).is_plain() {
            return None;
        }
        let (class, size) = (self.table.class(index), self.config.first_size);
        let request = Request { token: index.into(), tenant: None, class, size, is_timed: true };
        let lease = pool.grant_at_once(&request, tenant)?;
        self.touch(lease);
        self.table.hold_buffer(index, lease.index(), tenant);
        let capacity = self.memory.arena().bytes_of(lease.index());
        Some(self.table.connection_mut(index).begin_plainly(capacity))
    }

    /// All that a connection holds is decoded, nothing more is there to be received, and it gives its buffer back.
    #[inline(always)]
    fn finish_plainly(&mut self, index: u32, bytes: u32, need_more: u32) -> Option<Actions> {
        let pool = self.pool.own()?;
        if need_more > 0 || !self.table.holds_only_buffer(index) {
            return None;
        }
        let actions = self.table.connection_mut(index).finish_plainly(bytes)?;
        pool.release_at(self.table.drop_buffer(index));
        self.counts.consumed_bytes += u64::from(bytes);
        Some(actions)
    }
}
