//! An echo server on mio, which is edge-triggered. While memory is short, it leaves partial frames in the kernel.

use clap::Parser;
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolError, ReceiverId};
use demuxbuf_embed::counting::Counting;
use demuxbuf_embed::server::{BUFFER_BYTES, CONNECTIONS_MAX, SOCKET_FULL, echo, frame_bytes, signals};
use demuxbuf_embed::server::{Clock, Counts, Echo, Options, Summary};
use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use std::error::Error;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

const LISTENER: Token = Token(CONNECTIONS_MAX);
const SIGNALS: Token = Token(CONNECTIONS_MAX + 1);

struct Connection {
    id: ReceiverId,
    stream: TcpStream,
    counting: Counting,
    /// How much of the frame at the front is sent.
    sent: usize,
    is_blocked: bool,
}

struct Server {
    poll: Poll,
    pool: Pool,
    clock: Clock,
    /// The place of a connection is its token, with mio and with the pool.
    connections: Vec<Option<Connection>>,
    scheduled: Vec<usize>,
    counts: Counts,
}

impl Server {
    /// Does the pending actions of one connection, until it waits or is closed.
    fn run(&mut self, token: usize, mut actions: Actions) -> Result<(), PoolError> {
        let notices = Action::WantRecv | Action::StopRecv | Action::Reschedule;
        while let Some(connection) = &mut self.connections[token] {
            let id = connection.id;
            if !actions.intersection(Action::End | Action::Shed | Action::CannotFit).is_empty() {
                return self.close(token);
            } else if !actions.intersection(Action::Recv | Action::Peek).is_empty() {
                let area = self.pool.receive_area(id)?;
                let event = connection.counting.receive(&connection.stream, area, actions, frame_bytes);
                actions = self.pool.handle(id, event)?;
            } else if actions.has(Action::Decode) {
                actions = decode(&mut self.pool, connection, &mut self.counts)?;
            } else if !actions.intersection(notices).is_empty() {
                // An edge-triggered socket is registered once, so `StopRecv` needs no call, and `WantRecv` only a mark.
                if actions.has(Action::WantRecv) {
                    connection.counting.set_mark(&connection.stream, self.pool.low_water_mark(id)?);
                }
                if actions.has(Action::Reschedule) {
                    self.scheduled.push(token);
                }
                actions = self.pool.handle(id, Event::done(actions.intersection(notices)))?;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reports an event of a connection that may be closed already, and does what comes back.
    fn report(&mut self, token: usize, event: Event) -> Result<(), PoolError> {
        let Some(connection) = &self.connections[token] else { return Ok(()) };
        let actions = self.pool.handle(connection.id, event)?;
        self.run(token, actions)
    }

    fn close(&mut self, token: usize) -> Result<(), PoolError> {
        if let Some(connection) = self.connections[token].take() {
            self.pool.handle(connection.id, Event::Close)?;
        }
        Ok(())
    }

    /// Accepts until there is none: mio reports the listener once.
    fn accept(&mut self, listener: &TcpListener) -> Result<(), Box<dyn Error>> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(_) => return Ok(()), // none waits
            };
            let Some(token) = self.connections.iter().position(Option::is_none) else { continue };
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(token), interest)?;
            let mut policy = Policy { mode: Mode::Edge, ..Policy::default() };
            let counting = Counting::new(&stream, BUFFER_BYTES, &mut policy);
            let attach_options = AttachOptions { policy: Some(policy), ..AttachOptions::new(0, token as u64) };
            let id = self.pool.attach(&attach_options)?;
            self.connections[token] = Some(Connection { id, stream, counting, sent: 0, is_blocked: false });
            let actions = self.pool.pending(id)?;
            self.run(token, actions)?;
        }
    }

    /// One iteration: wait, clock, what was scheduled, events, notices. Returns whether to go on.
    fn iterate(&mut self, listener: &TcpListener, events: &mut Events) -> Result<bool, Box<dyn Error>> {
        match self.poll.poll(events, self.timeout()) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => self.counts.wakeups += 1,
        }
        let due = std::mem::take(&mut self.scheduled);
        self.pool.handle_timeout(self.clock.now_ns());
        for token in due {
            self.report(token, Event::Wake)?;
        }
        for event in events.iter() {
            match event.token() {
                LISTENER => self.accept(listener)?,
                SIGNALS => return Ok(false),
                Token(token) => {
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.report(token, Event::Readable)?;
                    }
                    let blocked = self.connections[token].as_mut().map(|connection| &mut connection.is_blocked);
                    if event.is_writable() && blocked.is_some_and(std::mem::take) {
                        self.report(token, Event::Unblock { reasons: SOCKET_FULL })?;
                    }
                }
            }
        }
        while let Some(notice) = self.pool.poll_notice() {
            if let Notice::Receiver { token, actions, .. } = notice {
                self.run(token as usize, actions)?;
            }
        }
        Ok(true)
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.scheduled.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadline_ns = self.pool.poll_timeout()?;
        Some(Duration::from_nanos(deadline_ns.saturating_sub(self.clock.now_ns())))
    }
}

/// What is not sent is kept, and decoding is blocked.
fn decode(pool: &mut Pool, connection: &mut Connection, counts: &mut Counts) -> Result<Actions, PoolError> {
    let id = connection.id;
    match echo(pool.data(id)?, &mut connection.sent, |bytes| connection.stream.write(bytes)) {
        Echo::Sent(frame_bytes) => pool.decoded(id, frame_bytes, 0),
        Echo::Needs(bytes) => pool.decoded(id, 0, bytes),
        Echo::Full => {
            connection.is_blocked = true;
            counts.blocked += 1;
            pool.handle(id, Event::Block { reasons: SOCKET_FULL })
        }
        Echo::Broken => {
            pool.handle(id, Event::Fail)?; // what is buffered is of no use any more
            pool.handle(id, Event::TransportError)
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let pool_config = options.pool_config(Mode::Edge);
    let mut server = Server {
        poll: Poll::new()?,
        pool: Pool::new(&pool_config)?,
        clock: Clock::start(),
        connections: (0..CONNECTIONS_MAX).map(|_| None).collect(),
        scheduled: Vec::new(),
        counts: Counts::default(),
    };
    let mut signals = UnixStream::from_std(signals()?);
    let mut listener = TcpListener::from_std(options.listen()?);
    server.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    server.poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    let mut events = Events::with_capacity(64);
    while server.iterate(&listener, &mut events)? {}
    (0..CONNECTIONS_MAX).try_for_each(|token| server.close(token))?;
    server.pool.check_invariants()?;
    let stats = server.pool.stats();
    Ok(Summary::new(stats, server.counts).finish(stats.scheduler.leased - pool_config.split()?.always))
}
