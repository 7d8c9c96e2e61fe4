//! A connection of the servers on tokio: what it does at once, and what it waits for.

use crate::counting::Counting;
use crate::server::{Counts, Echo, SOCKET_FULL, echo, frame_bytes};
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{BufferSource, Pool, PoolError, ReceiverId};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::yield_now;

/// A connection.
#[derive(Debug)]
pub(crate) struct Peer {
    id: ReceiverId,
    stream: TcpStream,
    state: RefCell<State>,
    /// A notice was served.
    noticed: Notify,
}

#[derive(Debug)]
struct State {
    counting: Counting,
    /// How much of the frame at the front is sent.
    sent: usize,
    wants_receive: bool,
    is_blocked: bool,
    is_scheduled: bool,
    is_over: bool,
}

/// Counts these too.
pub(crate) fn count(counts: &Cell<Counts>, wakeups: u64, blocked: u64) {
    let before = counts.get();
    counts.set(Counts { wakeups: before.wakeups + wakeups, blocked: before.blocked + blocked });
}

impl Peer {
    pub(crate) fn new(id: ReceiverId, stream: TcpStream, counting: Counting) -> Peer {
        let (wants_receive, is_blocked, is_scheduled, is_over) = (false, false, false, false);
        let state = State { counting, sent: 0, wants_receive, is_blocked, is_scheduled, is_over };
        Peer { id, stream, state: state.into(), noticed: Notify::new() }
    }

    pub(crate) fn id(&self) -> ReceiverId {
        self.id
    }

    /// It is to be closed.
    pub(crate) fn is_over(&self) -> bool {
        self.state.borrow().is_over
    }

    /// Ends its wait: another task did something for it.
    pub(crate) fn notify(&self) {
        self.noticed.notify_one();
    }

    /// Does the pending actions, until the connection waits or is to be closed.
    pub(crate) fn run<S: BufferSource>(
        &self,
        pool: &mut Pool<S>,
        counts: &Cell<Counts>,
        mut actions: Actions,
    ) -> Result<(), PoolError> {
        let mut state = self.state.borrow_mut();
        let notices = Action::WantRecv | Action::StopRecv | Action::Reschedule;
        loop {
            if !actions.intersection(Action::End | Action::Shed | Action::CannotFit).is_empty() {
                state.is_over = true;
                return Ok(());
            } else if !actions.intersection(Action::Recv | Action::Peek).is_empty() {
                // Not through tokio, for which there is nothing below a mark.
                let event = state.counting.receive(&self.stream, pool.receive_area(self.id)?, actions, frame_bytes);
                if event == Event::WouldBlock {
                    self.forget_readiness();
                }
                actions = pool.handle(self.id, event)?;
            } else if actions.has(Action::Decode) {
                actions = self.decode(pool, counts, &mut state)?;
            } else if !actions.intersection(notices).is_empty() {
                if actions.has(Action::WantRecv) {
                    state.counting.set_mark(&self.stream, pool.low_water_mark(self.id)?);
                    state.wants_receive = true;
                }
                state.wants_receive &= !actions.has(Action::StopRecv);
                state.is_scheduled |= actions.has(Action::Reschedule);
                actions = pool.handle(self.id, Event::done(actions.intersection(notices)))?;
            } else {
                return Ok(());
            }
        }
    }

    /// tokio reports a socket as readable until it sees that nothing is there.
    fn forget_readiness(&self) {
        let _ = self.stream.try_io(Interest::READABLE, || io::Result::<()>::Err(ErrorKind::WouldBlock.into()));
    }

    /// What is not sent is kept, and decoding is blocked.
    fn decode<S: BufferSource>(
        &self,
        pool: &mut Pool<S>,
        counts: &Cell<Counts>,
        state: &mut State,
    ) -> Result<Actions, PoolError> {
        match echo(pool.data(self.id)?, &mut state.sent, |bytes| self.stream.try_write(bytes)) {
            Echo::Sent(frame_bytes) => pool.decoded(self.id, frame_bytes, 0),
            Echo::Needs(bytes) => pool.decoded(self.id, 0, bytes),
            Echo::Full => {
                state.is_blocked = true;
                count(counts, 0, 1);
                pool.handle(self.id, Event::Block { reasons: SOCKET_FULL })
            }
            Echo::Broken => {
                pool.handle(self.id, Event::Fail)?; // what is buffered is of no use any more
                pool.handle(self.id, Event::TransportError)
            }
        }
    }

    /// Waits for what can bring the connection on; `None` if a notice was served.
    pub(crate) async fn wait(&self) -> Option<Event> {
        let State { wants_receive, is_blocked, is_scheduled, .. } = *self.state.borrow();
        if is_scheduled {
            self.state.borrow_mut().is_scheduled = false;
            yield_now().await;
            return Some(Event::Wake);
        }
        tokio::select! {
            _ = self.stream.readable(), if wants_receive => {
                self.state.borrow_mut().wants_receive = false; // one-shot
                Some(Event::Readable)
            }
            _ = self.stream.writable(), if is_blocked => {
                self.state.borrow_mut().is_blocked = false;
                Some(Event::Unblock { reasons: SOCKET_FULL })
            }
            () = self.noticed.notified() => None,
        }
    }
}
