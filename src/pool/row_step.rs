//! Calls for C, where the fast path does not apply: of a receiver in a row, with the place that goes with the answer.

use super::{BufferSource, Pool, PoolError, RawStep};
use crate::connection::{Actions, Event, Extent};

impl<S: BufferSource> Pool<S> {
    /// As `handle`.
    ///
    /// # Errors
    ///
    /// As `handle`.
    #[doc(hidden)]
    #[inline(always)] // a call has one event
    pub fn row_step(&mut self, index: u32, event: Event) -> Result<RawStep, PoolError> {
        if let Some(step) = self.try_completion_step(index, event) {
            return Ok(step);
        }
        let actions = self.handle_row_elsewhere(index, event)?;
        Ok(self.placed(index, actions))
    }

    /// As `decoded_usable`.
    ///
    /// # Errors
    ///
    /// As `decoded_usable`.
    #[doc(hidden)]
    #[inline(always)]
    pub fn row_decoded(
        &mut self,
        index: u32,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Result<RawStep, PoolError> {
        let landed = if needed_bytes == 0 { self.try_pass_landed(index, consumed_bytes) } else { None };
        if let Some(step) = landed {
            return Ok(step);
        }
        let actions = self.consume_row_elsewhere(index, consumed_bytes, needed_bytes, usable_bytes)?;
        Ok(self.placed(index, actions))
    }

    /// These actions, with their place.
    #[doc(hidden)]
    #[inline]
    pub fn placed(&self, index: u32, actions: Actions) -> RawStep {
        let (data, bytes) = self.place(index, actions);
        RawStep { data, extent: Extent::new(bytes, actions) }
    }
}
