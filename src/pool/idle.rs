//! What happens to a receiver that borrows, keeps and waits for nothing, and does not come to ask for memory by that:
//! only its machine has something to do, and no memory. Where it is not so, nothing is changed, and the slow path
//! follows.

use super::{BufferSource, Pool};
use crate::connection::{Action, Actions, Event};

impl<S: BufferSource> Pool<S> {
    /// The event of such a receiver. A cycle that may be open is left first, by the slow path.
    #[inline(always)]
    pub(super) fn try_idle_event(&mut self, index: u32, event: Event) -> Option<Actions> {
        if self.has_any_cycle() || !self.memory.is_idle(index) {
            return None;
        }
        let connection = self.table.connection_mut(index);
        if event == Event::Close {
            connection.pending_if_idle()?;
            self.memory.close(index).expect("it is attached");
            self.free_row(index);
            return Some(Action::Finished.into());
        }
        let actions = connection.try_idle_event(event)?;
        if matches!(event, Event::EndOfStream | Event::TransportError) {
            self.undelivered.clear(index);
        }
        Some(actions)
    }
}
