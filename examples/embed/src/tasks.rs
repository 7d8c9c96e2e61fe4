//! The servers on tokio: a connection is a task of the thread that accepted it. A pool belongs to one thread, so a task
//! stays there; the tasks of a thread share its pool in a `RefCell`, which is never borrowed across an `await`.
//!
//! A notice is served at once, in whatever task polls it, since what it grants lasts only until the clock is advanced.
//! The task of its connection then looks anew at what to wait for.

use crate::counting::Counting;
use crate::peer::{Peer, count};
use crate::server::{BUFFER_BYTES, CONNECTIONS_MAX, Clock, Counts, Summary};
use demuxbuf::connection::{Actions, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, BufferSource, Notice, Pool, PoolError};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

/// One thread with its pool.
pub struct Host<S: BufferSource> {
    pool: RefCell<Pool<S>>,
    clock: Clock,
    /// The clock was advanced in this iteration.
    is_advanced: Cell<bool>,
    /// It is to end, once all tasks that are ready have run.
    iteration: Notify,
    counts: Cell<Counts>,
    /// The place of a connection is its token.
    connections: RefCell<Vec<Option<Rc<Peer>>>>,
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
            is_advanced: Cell::new(false),
            iteration: Notify::new(),
            counts: Cell::default(),
            connections: RefCell::new((0..CONNECTIONS_MAX).map(|_| None).collect()),
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
        tasks.spawn_local(self.clone().end_iterations());
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    let Some(token) = self.connections.borrow().iter().position(Option::is_none) else { continue };
                    let mut policy = Policy { mode: Mode::OneShot, ..Policy::default() };
                    let counting = Counting::new(&stream, BUFFER_BYTES, &mut policy);
                    let options = AttachOptions { policy: Some(policy), ..AttachOptions::new(0, token as u64) };
                    let id = self.pool.borrow_mut().attach(&options)?;
                    let connection = Rc::new(Peer::new(id, stream, counting));
                    self.connections.borrow_mut()[token] = Some(connection.clone());
                    tasks.spawn_local(Task { host: self.clone(), connection, token }.serve());
                }
                Some(ended) = tasks.join_next() => ended??,
                ended = &mut time => ended?,
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

    /// Buffers in use.
    pub fn leased(&self) -> u32 {
        self.pool.borrow().stats().scheduler.leased
    }

    /// Walks all tables of its pool; no other thread may use a shared one meanwhile.
    ///
    /// # Errors
    ///
    /// A rule is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.pool.borrow().check_invariants()
    }

    /// The first task of an iteration advances the clock. An iteration is over when all tasks that were ready have run.
    fn advance_clock(&self) {
        if !self.is_advanced.replace(true) {
            self.pool.borrow_mut().handle_timeout(self.clock.now_ns());
            self.iteration.notify_one();
        }
    }

    /// A task like others, and so behind those that are ready.
    async fn end_iterations(self: Rc<Self>) -> Result<(), PoolError> {
        loop {
            self.iteration.notified().await;
            self.is_advanced.set(false);
        }
    }

    fn run(&self, connection: &Peer, actions: Actions) -> Result<(), PoolError> {
        connection.run(&mut *self.pool.borrow_mut(), &self.counts, actions)
    }

    /// Each task drains the notices before it waits.
    fn drain(&self) -> Result<(), PoolError> {
        while let Some(notice) = self.next_notice() {
            let Notice::Receiver { token, actions, .. } = notice else { continue };
            let connection = self.connections.borrow()[token as usize].clone();
            if let Some(connection) = connection {
                self.run(&connection, actions)?;
                connection.notify();
            }
        }
        let mut pool = self.pool.borrow_mut();
        while let Some(thread) = pool.poll_wake() {
            self.signals[thread as usize].notify_one();
        }
        let armed_ns = self.armed_ns.get();
        if pool.poll_timeout().is_some_and(|due_ns| armed_ns.is_none_or(|armed_ns| due_ns < armed_ns)) {
            self.signals[self.thread].notify_one();
        }
        Ok(())
    }

    fn next_notice(&self) -> Option<Notice> {
        self.pool.borrow_mut().poll_notice()
    }

    /// Advances the clock when the pool asks for it, and when it is signalled.
    async fn keep_time(&self) -> Result<(), PoolError> {
        loop {
            let deadline_ns = self.pool.borrow().poll_timeout();
            self.armed_ns.set(deadline_ns);
            let signalled = self.signals[self.thread].notified();
            match deadline_ns.and_then(|deadline_ns| self.clock.at(deadline_ns)) {
                Some(deadline) => drop(tokio::time::timeout_at(deadline.into(), signalled).await),
                None => signalled.await,
            }
            while self.is_advanced.get() {
                yield_now().await;
            }
            count(&self.counts, 1, 0);
            self.armed_ns.set(Some(0));
            self.advance_clock();
            self.drain()?;
        }
    }
}

struct Task<S: BufferSource + 'static> {
    host: Rc<Host<S>>,
    connection: Rc<Peer>,
    token: usize,
}

impl<S: BufferSource> Task<S> {
    async fn serve(self) -> Result<(), PoolError> {
        let mut actions = self.host.pool.borrow().pending(self.connection.id())?;
        loop {
            self.host.run(&self.connection, actions)?;
            self.host.drain()?;
            if self.connection.is_over() {
                return Ok(());
            }
            let event = self.connection.wait().await;
            count(&self.host.counts, 1, 0);
            self.host.advance_clock();
            let mut pool = self.host.pool.borrow_mut();
            actions = match event {
                Some(event) => pool.handle(self.connection.id(), event)?,
                None => pool.pending(self.connection.id())?,
            };
        }
    }
}

/// However the task ends, what it holds or waits for is released, and others are granted it.
impl<S: BufferSource> Drop for Task<S> {
    fn drop(&mut self) {
        let closed = self.host.pool.borrow_mut().handle(self.connection.id(), Event::Close);
        self.host.connections.borrow_mut()[self.token] = None;
        let drained = self.host.drain();
        debug_assert!(closed.is_ok() && drained.is_ok(), "{closed:?}, {drained:?}");
    }
}
