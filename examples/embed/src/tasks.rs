//! The servers on tokio: a connection is a task of the thread that accepted it. A pool belongs to one thread, so a task
//! stays there; the tasks of a thread share its pool in a `RefCell`, which is never borrowed across an `await`.

use crate::server::{CONNECTIONS_MAX, Clock, Counts, Echo, SOCKET_FULL, Summary, echo};
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{AttachOptions, BufferSource, Notice, Pool, PoolError, ReceiverId};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

/// One thread with its pool.
pub struct Host<S: BufferSource> {
    pool: RefCell<Pool<S>>,
    clock: Clock,
    counts: Cell<Counts>,
    free_tokens: RefCell<Vec<usize>>,
    /// By token: a notice names this connection.
    noticed: Vec<Notify>,
    /// When `keep_time` wakes.
    armed_ns: Cell<Option<u64>>,
    /// By thread: it has notices to pick up, or a deadline before `armed_ns`.
    signals: Arc<Vec<Notify>>,
    thread: usize,
}

impl<S: BufferSource + 'static> Host<S> {
    /// The host of this pool, which is that of this thread; `signals` has one place for each thread.
    pub fn new(pool: Pool<S>, thread: usize, signals: Arc<Vec<Notify>>) -> Rc<Host<S>> {
        Rc::new(Host {
            pool: RefCell::new(pool),
            clock: Clock::start(),
            counts: Cell::default(),
            free_tokens: RefCell::new((0..CONNECTIONS_MAX).collect()),
            noticed: (0..CONNECTIONS_MAX).map(|_| Notify::new()).collect(),
            armed_ns: Cell::new(Some(0)),
            signals,
            thread,
        })
    }

    /// Serves what it accepts until `stop`. Then it closes all connections.
    ///
    /// # Errors
    ///
    /// The pool refuses a call.
    pub async fn serve(self: &Rc<Self>, listener: TcpListener, stop: impl Future) -> Result<(), Box<dyn Error>> {
        let (mut time, mut stop, mut tasks) = (pin!(self.keep_time()), pin!(stop), JoinSet::new());
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    let Some(token) = self.free_tokens.borrow_mut().pop() else { continue };
                    let id = self.pool.borrow_mut().attach(&AttachOptions::new(0, token as u64))?;
                    tasks.spawn_local(Connection::new(self.clone(), id, token, stream).serve());
                }
                Some(ended) = tasks.join_next() => ended??,
                () = &mut time => {}
                _ = &mut stop => break,
            }
        }
        tasks.shutdown().await;
        Ok(())
    }

    /// What it counted.
    pub fn summary(&self) -> Summary {
        Summary::new(self.pool.borrow().stats(), self.counts.get())
    }

    /// Walks all tables of its pool; no other thread may use a shared one meanwhile.
    ///
    /// # Errors
    ///
    /// A rule is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.pool.borrow().check_invariants()
    }

    fn count(&self, wakeups: u64, blocked: u64) {
        let before = self.counts.get();
        self.counts.set(Counts { wakeups: before.wakeups + wakeups, blocked: before.blocked + blocked });
    }

    /// Each task advances the clock before its event, since the tasks of an iteration run in any order.
    fn report(&self, id: ReceiverId, event: Event) -> Result<Actions, PoolError> {
        let mut pool = self.pool.borrow_mut();
        pool.handle_timeout(self.clock.now_ns());
        pool.handle(id, event)
    }

    /// Each task drains the notices before it waits. The tasks that they name then do what is pending.
    fn drain(&self) {
        let mut pool = self.pool.borrow_mut();
        while let Some(notice) = pool.poll_notice() {
            if let Notice::Receiver { token, .. } = notice {
                self.noticed[token as usize].notify_one();
            }
        }
        while let Some(thread) = pool.poll_wake() {
            self.signals[thread as usize].notify_one();
        }
        let armed_ns = self.armed_ns.get();
        if pool.poll_timeout().is_some_and(|due_ns| armed_ns.is_none_or(|armed_ns| due_ns < armed_ns)) {
            self.signals[self.thread].notify_one();
        }
    }

    /// Advances the clock when the pool asks for it, and when it is signalled.
    async fn keep_time(&self) {
        loop {
            let deadline_ns = self.pool.borrow().poll_timeout();
            self.armed_ns.set(deadline_ns);
            let signalled = self.signals[self.thread].notified();
            match deadline_ns.and_then(|deadline_ns| self.clock.at(deadline_ns)) {
                Some(deadline) => drop(tokio::time::timeout_at(deadline.into(), signalled).await),
                None => signalled.await,
            }
            self.count(1, 0);
            self.armed_ns.set(Some(0));
            self.pool.borrow_mut().handle_timeout(self.clock.now_ns());
            self.drain();
        }
    }
}

struct Connection<S: BufferSource + 'static> {
    host: Rc<Host<S>>,
    id: ReceiverId,
    token: usize,
    stream: TcpStream,
    /// How much of the frame at the front is sent.
    sent: usize,
    wants_receive: bool,
    is_blocked: bool,
    is_scheduled: bool,
}

impl<S: BufferSource> Connection<S> {
    fn new(host: Rc<Host<S>>, id: ReceiverId, token: usize, stream: TcpStream) -> Connection<S> {
        let (sent, wants_receive, is_blocked, is_scheduled) = (0, false, false, false);
        Connection { host, id, token, stream, sent, wants_receive, is_blocked, is_scheduled }
    }

    /// Does the pending actions, until the connection waits (true) or is to be closed.
    fn run(&mut self, mut actions: Actions) -> Result<bool, PoolError> {
        let host = self.host.clone();
        let mut pool = host.pool.borrow_mut();
        let notices = Action::WantRecv | Action::StopRecv | Action::Reschedule;
        loop {
            if !actions.intersection(Action::End | Action::Shed | Action::CannotFit).is_empty() {
                return Ok(false);
            } else if actions.has(Action::Recv) {
                let event = match self.stream.try_read(pool.receive_area(self.id)?) {
                    Ok(0) => Event::EndOfStream,
                    Ok(bytes) => Event::Received { bytes: bytes as u32 },
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Event::WouldBlock,
                    Err(_) => Event::TransportError,
                };
                actions = pool.handle(self.id, event)?;
            } else if actions.has(Action::Decode) {
                actions = self.decode(&mut pool)?;
            } else if !actions.intersection(notices).is_empty() {
                self.wants_receive |= actions.has(Action::WantRecv);
                self.wants_receive &= !actions.has(Action::StopRecv);
                self.is_scheduled |= actions.has(Action::Reschedule);
                actions = pool.handle(self.id, Event::done(actions.intersection(notices)))?;
            } else {
                return Ok(true);
            }
        }
    }

    /// What is not sent stays in the buffer, and decoding is blocked.
    fn decode(&mut self, pool: &mut Pool<S>) -> Result<Actions, PoolError> {
        match echo(pool.data(self.id)?, &mut self.sent, |bytes| self.stream.try_write(bytes)) {
            Echo::Sent(frame_bytes) => pool.decoded(self.id, frame_bytes, 0),
            Echo::Needs(bytes) => pool.decoded(self.id, 0, bytes),
            Echo::Full => {
                self.is_blocked = true;
                self.host.count(0, 1);
                pool.handle(self.id, Event::Block { reasons: SOCKET_FULL })
            }
            Echo::Broken => {
                pool.handle(self.id, Event::Fail)?; // what is buffered is of no use any more
                pool.handle(self.id, Event::TransportError)
            }
        }
    }

    /// Waits for what can bring the connection on.
    async fn wait(&mut self) -> Result<Actions, PoolError> {
        let event = if std::mem::take(&mut self.is_scheduled) {
            yield_now().await;
            Some(Event::Wake)
        } else {
            tokio::select! {
                _ = self.stream.readable(), if self.wants_receive => {
                    self.wants_receive = false; // one-shot
                    Some(Event::Readable)
                }
                _ = self.stream.writable(), if self.is_blocked => {
                    self.is_blocked = false;
                    Some(Event::Unblock { reasons: SOCKET_FULL })
                }
                () = self.host.noticed[self.token].notified() => None,
            }
        };
        self.host.count(1, 0);
        event.map_or_else(|| self.host.pool.borrow().pending(self.id), |event| self.host.report(self.id, event))
    }

    async fn serve(mut self) -> Result<(), PoolError> {
        let mut actions = self.host.pool.borrow().pending(self.id)?;
        while self.run(actions)? {
            self.host.drain();
            actions = self.wait().await?;
        }
        Ok(())
    }
}

/// However the task ends, what it holds or waits for is released, and others are granted it.
impl<S: BufferSource> Drop for Connection<S> {
    fn drop(&mut self) {
        let closed = self.host.pool.borrow_mut().handle(self.id, Event::Close);
        debug_assert!(closed.is_ok(), "{closed:?}");
        self.host.free_tokens.borrow_mut().push(self.token);
        self.host.drain();
    }
}
