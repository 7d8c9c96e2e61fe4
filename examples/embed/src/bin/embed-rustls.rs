//! An echo server for TLS, with rustls on mio, which is edge-triggered. rustls may hold bytes that mio does not report:
//! hence `reads_ahead` in the policy.

use clap::Parser;
use demuxbuf::connection::{Action, Actions, Event, Mode};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolError, ReceiverId};
use demuxbuf_embed::server::{CONNECTIONS_MAX, Clock, Counts, Echo, Options, SOCKET_FULL, Summary, echo, signals};
use demuxbuf_embed::tls::{Identity, Outcome, TlsStream};
use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const LISTENER: Token = Token(CONNECTIONS_MAX);
const SIGNALS: Token = Token(CONNECTIONS_MAX + 1);

#[derive(Parser)]
struct AllOptions {
    #[command(flatten)]
    common: Options,
    #[command(flatten)]
    identity: Identity,
}

struct Connection {
    /// `None` once only the close_notify is left to send.
    id: Option<ReceiverId>,
    stream: TlsStream<TcpStream>,
    /// How much of the frame at the front is sent.
    sent: usize,
    is_blocked: bool,
    /// A receive waits for room: rustls has something to send first.
    is_writing_first: bool,
}

struct Server {
    poll: Poll,
    pool: Pool,
    clock: Clock,
    /// The place of a connection is its token, with mio and with the pool.
    connections: Vec<Option<Connection>>,
    scheduled: Vec<usize>,
    counts: Counts,
    wrote_first: u64,
    truncated: u64,
    config: Arc<ServerConfig>,
}

impl Server {
    /// Does the pending actions of one connection, until it waits or is closed.
    fn run(&mut self, token: usize, mut actions: Actions) -> Result<(), PoolError> {
        let notices = Action::WantRecv | Action::StopRecv | Action::Reschedule;
        while let Some(connection) = &mut self.connections[token] {
            let Some(id) = connection.id else { return Ok(()) };
            if !actions.intersection(Action::End | Action::Shed | Action::CannotFit).is_empty() {
                return self.close(token);
            } else if actions.has(Action::Recv) {
                let event = match connection.stream.receive(self.pool.receive_area(id)?) {
                    Outcome::Received(bytes) => Event::Received { bytes: bytes as u32 },
                    Outcome::WouldBlock => Event::WouldBlock,
                    Outcome::WritesFirst => {
                        connection.is_writing_first = true;
                        self.wrote_first += 1;
                        self.pool.handle(id, Event::PauseRecv)?;
                        Event::WouldBlock
                    }
                    Outcome::End => Event::EndOfStream,
                    Outcome::Truncated => {
                        self.truncated += 1;
                        Event::TransportError
                    }
                    Outcome::Broken => Event::TransportError,
                };
                actions = self.pool.handle(id, event)?;
            } else if actions.has(Action::Decode) {
                actions = decode(&mut self.pool, id, connection, &mut self.counts)?;
            } else if !actions.intersection(notices).is_empty() {
                // An edge-triggered socket is registered once, so `WantRecv` and `StopRecv` need no call.
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
        let Some(id) = self.connections[token].as_ref().and_then(|connection| connection.id) else { return Ok(()) };
        let actions = self.pool.handle(id, event)?;
        self.run(token, actions)
    }

    /// The receiver is closed at once; the connection once its close_notify is sent, or if that cannot be.
    fn close(&mut self, token: usize) -> Result<(), PoolError> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        if let Some(id) = connection.id.take() {
            self.pool.handle(id, Event::Close)?;
            connection.stream.close();
        }
        if !matches!(connection.stream.flush(), Ok(false)) {
            self.connections[token] = None;
        }
        Ok(())
    }

    /// What waited for room goes on: the close_notify alone, or a receive that had to write first, and the echo.
    fn report_writable(&mut self, token: usize) -> Result<(), PoolError> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        if connection.id.is_none() {
            return self.close(token);
        }
        let is_sent = connection.stream.flush().unwrap_or(true); // a failure is found by what goes on
        if is_sent && std::mem::take(&mut connection.is_writing_first) {
            self.report(token, Event::ResumeRecv)?;
            self.report(token, Event::Readable)?;
        }
        let connection = self.connections[token].as_mut().filter(|_| is_sent);
        if connection.is_some_and(|connection| std::mem::take(&mut connection.is_blocked)) {
            self.report(token, Event::Unblock { reasons: SOCKET_FULL })?;
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
            let id = self.pool.attach(&AttachOptions::new(0, token as u64))?;
            let stream = TlsStream::new(self.config.clone(), stream)?;
            let (sent, is_blocked, is_writing_first) = (0, false, false);
            self.connections[token] = Some(Connection { id: Some(id), stream, sent, is_blocked, is_writing_first });
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
                    if event.is_writable() {
                        self.report_writable(token)?;
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
fn decode(
    pool: &mut Pool,
    id: ReceiverId,
    connection: &mut Connection,
    counts: &mut Counts,
) -> Result<Actions, PoolError> {
    match echo(pool.data(id)?, &mut connection.sent, |bytes| connection.stream.send(bytes)) {
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
    let options = AllOptions::parse();
    let mut pool_config = options.common.pool_config(Mode::Edge);
    pool_config.policy.reads_ahead = true;
    let mut server = Server {
        poll: Poll::new()?,
        pool: Pool::new(&pool_config)?,
        clock: Clock::start(),
        connections: (0..CONNECTIONS_MAX).map(|_| None).collect(),
        scheduled: Vec::new(),
        counts: Counts::default(),
        wrote_first: 0,
        truncated: 0,
        config: options.identity.server_config(),
    };
    let mut signals = UnixStream::from_std(signals()?);
    let mut listener = TcpListener::from_std(options.common.listen()?);
    server.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    server.poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
    let mut events = Events::with_capacity(64);
    while server.iterate(&listener, &mut events)? {}
    (0..CONNECTIONS_MAX).try_for_each(|token| server.close(token))?;
    server.pool.check_invariants()?;
    println!("wrote_first {}\ntruncated {}", server.wrote_first, server.truncated);
    let stats = server.pool.stats();
    Ok(Summary::new(stats, server.counts).finish(stats.scheduler.leased - pool_config.split()?.always))
}
