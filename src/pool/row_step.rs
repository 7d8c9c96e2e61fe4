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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Action, Mode, Policy};
    use crate::pool::{AttachOptions, PoolConfig};

    /// What was there before a receive in flight is decoded meanwhile: what that brings is where it went to.
    #[test]
    fn bytes_are_where_the_receive_in_flight_went_to() {
        let policy = Policy { mode: Mode::Completion, ..Policy::default() };
        let config = PoolConfig { buffer_bytes: 256, in_flight_max: 4, policy, ..PoolConfig::new(16 * 256, 4) };
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
        let index = pool.table.find(id).expect("it is attached");
        let submit = |pool: &mut Pool| pool.row_step(index, Event::done(Action::Recv)).expect("it is pending");
        submit(&mut pool);
        let step = pool.row_step(index, Event::Received { bytes: 10 }).expect("it was in flight");
        assert_eq!(step.extent, Extent::new(10, Action::Decode.into()));
        let area = pool.row_decoded(index, 0, 5, 0).expect("it is there");
        assert!(area.actions().has(Action::Recv));
        submit(&mut pool);
        pool.row_decoded(index, 10, 0, 0).expect("it is there still");
        let landed = pool.row_step(index, Event::Received { bytes: 7 }).expect("it was in flight");
        assert_eq!(landed.extent, Extent::new(7, Action::Decode.into()));
        assert_eq!(landed.data, area.data, "not where the first bytes were");
    }
}
