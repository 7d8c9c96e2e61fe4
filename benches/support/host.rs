//! The library's hosts in Rust, the same as in `baseline/cycle`: an event loop that finds each of a few connections
//! readable in turn.

use super::Error;
use demuxbuf::connection::{Action, Actions, Connection, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Budget, BufferSource, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::shared::{PoolShard, SharedPool};
use std::hint::black_box;

// The same as in `baseline/cycle/host.h` and `baseline/cycle/receiver.h`.
pub(crate) const CONNECTIONS: usize = 64;
const BUFFERS: u64 = 8;
pub(crate) const BUFFER_BYTES: u32 = 16448;
pub(crate) const RECEIVED_BYTES: u32 = 100;

pub(crate) const NOTHING: Actions = Actions::NONE;

/// Ends the program unless exactly these actions are pending.
#[inline(always)]
pub(crate) fn expect(pending: Actions, expected: impl Into<Actions>) -> Result<(), Error> {
    if pending == expected.into() { Ok(()) } else { Err(format!("there is something else to do: {pending:?}").into()) }
}

/// A receive that brings this many bytes, which the compiler must not know.
#[inline(always)]
pub(crate) fn transport_bytes(area: &mut [u8], bytes: u32) -> u32 {
    black_box(area.as_mut_ptr());
    black_box(bytes)
}

/// Returns how many bytes the decoder took: all.
#[inline(always)]
pub(crate) fn run_decoder(data: &[u8]) -> u32 {
    black_box(data.as_ptr());
    black_box(data.len() as u32)
}

/// What shows that each way has done the same.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) received_bytes: u64,
    pub(crate) decoded_bytes: u64,
}

/// Where a host's pool gets its buffers.
pub(crate) trait HostPool: BufferSource + Sized {
    /// The other shard, and what both share.
    type Rest;
    /// Threads that share the memory.
    const THREADS: u64;

    fn make(config: &PoolConfig) -> Result<(Pool<Self>, Self::Rest), Error>;
}

impl HostPool for Budget {
    type Rest = ();
    const THREADS: u64 = 1;

    fn make(config: &PoolConfig) -> Result<(Pool, ()), Error> {
        Ok((Pool::new(config)?, ()))
    }
}

impl HostPool for PoolShard {
    type Rest = (Pool<PoolShard>, SharedPool);
    const THREADS: u64 = 2;

    fn make(config: &PoolConfig) -> Result<(Pool<PoolShard>, Self::Rest), Error> {
        let shared_pool = SharedPool::new(config, 2)?;
        Ok((shared_pool.shard(0)?, (shared_pool.shard(1)?, shared_pool)))
    }
}

/// Receivers of a host that receives in the mode with this number.
pub(crate) struct Host<const MODE: u8, S: HostPool = Budget> {
    pub(crate) pool: Pool<S>,
    rest: S::Rest,
    pub(crate) ids: [ReceiverId; CONNECTIONS],
    is_armed: [bool; CONNECTIONS],
    /// Whether the transport has bytes.
    has_bytes: [bool; CONNECTIONS],
    pub(crate) work: Work,
}

impl<const MODE: u8, S: HostPool> Host<MODE, S> {
    /// Whether the read interest stays armed after an event.
    const IS_PERSISTENT: bool = MODE == Mode::Level as u8 || MODE == Mode::Edge as u8;
    /// Whether the host receives until the transport is empty.
    const RECEIVES_UNTIL_EMPTY: bool = !(MODE == Mode::Level as u8 || MODE == Mode::OneShot as u8);

    pub(crate) fn new() -> Result<Host<MODE, S>, Error> {
        let memory_bytes = BUFFERS * S::THREADS * u64::from(BUFFER_BYTES);
        let mut config = PoolConfig { buffer_bytes: BUFFER_BYTES, ..PoolConfig::new(memory_bytes, CONNECTIONS as u32) };
        config.policy.mode = Mode::try_from(MODE).map_err(|_| "there is no such mode")?;
        let (pool, rest) = S::make(&config)?;
        let mut host = Host {
            pool,
            rest,
            ids: [ReceiverId::from_bits(0); CONNECTIONS],
            is_armed: [false; CONNECTIONS],
            has_bytes: [false; CONNECTIONS],
            work: Work::default(),
        };
        for index in 0..CONNECTIONS {
            host.attach(index)?;
        }
        Ok(host)
    }

    #[inline(always)]
    pub(crate) fn attach(&mut self, index: usize) -> Result<(), Error> {
        self.ids[index] = self.pool.attach(&AttachOptions::new(0, index as u64))?;
        let actions = self.pool.pending(self.ids[index])?;
        self.run(index, actions, &mut receive)
    }

    #[inline(always)]
    pub(crate) fn handle(&mut self, index: usize, event: Event) -> Result<Actions, Error> {
        Ok(self.pool.handle(self.ids[index], event)?)
    }

    #[inline(always)]
    pub(crate) fn report_readable(&mut self, index: usize) -> Result<Actions, Error> {
        self.note_readable(index);
        self.handle(index, Event::Readable)
    }

    #[inline(always)]
    fn note_readable(&mut self, index: usize) {
        if !Self::IS_PERSISTENT {
            self.is_armed[index] = false;
        }
        if Self::RECEIVES_UNTIL_EMPTY {
            self.has_bytes[index] = true;
        }
    }

    #[inline(always)]
    pub(crate) fn arm(&mut self, index: usize) -> Result<Actions, Error> {
        self.is_armed[index] = true;
        self.handle(index, Event::done(Action::WantRecv))
    }

    #[inline(always)]
    pub(crate) fn disarm(&mut self, index: usize) -> Result<Actions, Error> {
        self.is_armed[index] = false;
        self.handle(index, Event::done(Action::StopRecv))
    }

    #[inline(always)]
    pub(crate) fn receive(&mut self, index: usize, receive: &mut impl Receive) -> Result<Actions, Error> {
        if Self::RECEIVES_UNTIL_EMPTY {
            if !self.has_bytes[index] {
                return self.handle(index, Event::WouldBlock);
            }
            self.has_bytes[index] = false;
        }
        let id = self.ids[index];
        let bytes = receive(index, self.pool.receive_area(id)?)?;
        if MODE == Mode::Completion as u8 {
            expect(self.handle(index, Event::done(Action::Recv))?, NOTHING)?;
        }
        self.work.received_bytes += u64::from(bytes);
        self.handle(index, Event::Received { bytes })
    }

    #[inline(always)]
    pub(crate) fn decode(&mut self, index: usize) -> Result<Actions, Error> {
        let id = self.ids[index];
        let bytes = run_decoder(self.pool.data(id)?);
        self.work.decoded_bytes += u64::from(bytes);
        Ok(self.pool.decoded(id, bytes, 0)?)
    }

    /// Receives a part of a frame, this many bytes.
    #[inline(always)]
    pub(crate) fn receive_part(&mut self, index: usize, bytes: u32) -> Result<(), Error> {
        expect(self.report_readable(index)?, Action::Recv)?;
        let id = self.ids[index];
        let bytes = transport_bytes(self.pool.receive_area(id)?, bytes);
        expect(self.handle(index, Event::Received { bytes })?, Action::Decode)
    }

    /// Receives this many bytes, and keeps what is there: decoding is blocked.
    #[inline(always)]
    pub(crate) fn hold(&mut self, index: usize, mut actions: Actions, bytes: u32) -> Result<(), Error> {
        if actions.has(Action::WantRecv) {
            actions = self.arm(index)?;
        }
        expect(actions, Action::Recv)?;
        actions = self.receive(index, &mut |_, area| Ok(transport_bytes(area, bytes)))?;
        if actions.has(Action::StopRecv) {
            actions = self.disarm(index)?;
        }
        expect(actions, Action::Decode)?;
        self.block(index)
    }

    /// Decoding is blocked: nothing more is received.
    #[inline(always)]
    pub(crate) fn block(&mut self, index: usize) -> Result<(), Error> {
        let mut actions = self.handle(index, Event::Block { reasons: 1 })?;
        if actions.has(Action::StopRecv) {
            actions = self.disarm(index)?;
        }
        expect(actions, NOTHING)
    }

    /// Receives and decodes until nothing is pending.
    #[inline(always)]
    pub(crate) fn run(&mut self, index: usize, mut actions: Actions, from: &mut impl Receive) -> Result<(), Error> {
        while actions.has(Action::Recv) || actions.has(Action::Decode) {
            actions = if actions.has(Action::Recv) { self.receive(index, from)? } else { self.decode(index)? };
        }
        if actions.has(Action::WantRecv) {
            actions = self.arm(index)?;
        }
        // The host's own poll, which it submits where no receive is in flight.
        if MODE == Mode::Completion as u8 {
            self.is_armed[index] = true;
        }
        expect(actions, NOTHING)
    }

    /// What the event loop does when this many connections are readable.
    #[inline(always)]
    pub(crate) fn iterate(&mut self, busy: usize, mut from: impl Receive) -> Result<(), Error> {
        for index in 0..busy {
            self.cycle(index, &mut from)?;
        }
        self.end_iteration()
    }

    /// A connection is readable: receives, and decodes all of it.
    #[inline(always)]
    fn cycle(&mut self, index: usize, from: &mut impl Receive) -> Result<(), Error> {
        self.note_readable(index);
        let id = self.ids[index];
        let step = self.pool.readable(id)?;
        if MODE == Mode::Completion as u8 || !step.actions.has(Action::Recv) {
            let actions = step.actions;
            return self.run(index, actions, from);
        }
        let bytes = from(index, step.data)?;
        self.has_bytes[index] = false;
        self.work.received_bytes += u64::from(bytes);
        let step = self.pool.received(id, bytes)?;
        if !step.actions.has(Action::Decode) {
            return Err(format!("there is nothing to decode: {step:?}").into());
        }
        let bytes = run_decoder(step.data);
        self.work.decoded_bytes += u64::from(bytes);
        let actions = self.pool.decoded(id, bytes, 0)?;
        self.run(index, actions, from)
    }

    /// As `cycle`, of a decoder that runs before anything is reported.
    #[inline(always)]
    pub(crate) fn cycle_of_two_calls(&mut self, index: usize, from: &mut impl Receive) -> Result<(), Error> {
        self.note_readable(index);
        let id = self.ids[index];
        let step = self.pool.readable(id)?;
        expect(step.actions, Action::Recv)?;
        let bytes = from(index, step.data)?;
        self.work.received_bytes += u64::from(bytes);
        let bytes = run_decoder(&step.data[..bytes as usize]);
        self.work.decoded_bytes += u64::from(bytes);
        expect(self.pool.received_and_decoded(id, bytes)?, NOTHING)
    }

    #[inline(always)]
    pub(crate) fn end_iteration(&mut self) -> Result<(), Error> {
        self.pool.handle_timeout(0);
        match self.pool.poll_notice() {
            None => Ok(()),
            Some(granted) => Err(format!("no connection waits: {granted:?}").into()),
        }
    }

    /// The connection that waited moves on to the buffer that was handed to it.
    #[inline(always)]
    pub(crate) fn granted(&mut self, index: usize) -> Result<Actions, Error> {
        match self.pool.poll_notice() {
            Some(Notice::Receiver { token, actions, .. }) if token == index as u64 => Ok(actions),
            other => Err(format!("connection {index} waits: {other:?}").into()),
        }
    }

    /// Fails unless this many bytes were received and decoded without a wait, and all is at rest.
    pub(crate) fn finish(&self, bytes: u64) -> Result<(), Error> {
        let stats = self.pool.stats();
        let found = (stats.received_bytes, stats.consumed_bytes, stats.memory_model.claims);
        if found != (bytes, bytes, 0) || self.is_armed.contains(&false) {
            return Err(format!("not {bytes} bytes were received and decoded at once: {stats:?}").into());
        }
        Ok(())
    }
}

impl<const MODE: u8> Host<MODE, PoolShard> {
    /// Moves a connection to the shard where it is not; if it has received bytes here, they are decoded there. All
    /// connections change sides in the same loop iteration.
    #[inline(always)]
    pub(crate) fn migrate(&mut self, index: usize, is_back: bool, is_holding: bool) -> Result<(), Error> {
        let (other, _) = &mut self.rest;
        let (from, to) = if is_back { (other, &mut self.pool) } else { (&mut self.pool, other) };
        let id = self.ids[index];
        if is_holding {
            expect(from.handle(id, Event::Readable)?, Action::Recv)?;
            let bytes = receive(index, from.receive_area(id)?)?;
            expect(from.handle(id, Event::Received { bytes })?, Action::Decode)?;
        }
        let mut moved = from.export(id)?;
        let id = to.import(&mut moved)?;
        self.ids[index] = id;
        let mut actions = to.pending(id)?;
        if actions.has(Action::Decode) {
            let bytes = run_decoder(to.data(id)?);
            actions = to.decoded(id, bytes, 0)?;
        }
        expect(actions, NOTHING)
    }
}

/// The transport of a connection, by its index: receives into the area, and returns how many bytes.
pub(crate) trait Receive: FnMut(usize, &mut [u8]) -> Result<u32, Error> {}

impl<F: FnMut(usize, &mut [u8]) -> Result<u32, Error>> Receive for F {}

/// The empty transport.
#[inline(always)]
pub(crate) fn receive(_: usize, area: &mut [u8]) -> Result<u32, Error> {
    Ok(transport_bytes(area, RECEIVED_BYTES))
}

/// State machines alone, in a host that has one buffer.
pub(crate) struct Machines {
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

impl Machines {
    pub(crate) fn new(mode: Mode) -> Result<Machines, Error> {
        let attach = |_| {
            let mut connection = Connection::new(Policy { mode, ..Policy::default() });
            expect(connection.handle(Event::Attach { buffered_bytes: 0, capacity: 0 })?, Action::WantRecv)?;
            expect(connection.handle(Event::done(Action::WantRecv))?, NOTHING)?;
            Ok(connection)
        };
        let connections = (0..CONNECTIONS).map(attach).collect::<Result<_, Error>>()?;
        Ok(Machines { connections, buffer: vec![0; BUFFER_BYTES as usize] })
    }

    /// Event by event.
    #[inline(always)]
    pub(crate) fn report_events(&mut self, index: usize) -> Result<(), Error> {
        let connection = &mut self.connections[index];
        expect(connection.handle(Event::Readable)?, Action::RequestBuffer)?;
        expect(connection.handle(Event::BufferGranted { capacity: BUFFER_BYTES })?, Action::Recv)?;
        let bytes = receive(index, &mut self.buffer)?;
        expect(connection.handle(Event::Received { bytes })?, Action::Decode)?;
        let bytes = run_decoder(&self.buffer[..bytes as usize]);
        expect(connection.handle(Event::Consumed { bytes })?, Action::ReleaseBuffer)?;
        expect(connection.handle(Event::BufferReleased)?, NOTHING)
    }

    /// The host's own buffer and read interest are reported when the decoder has run.
    #[inline(always)]
    pub(crate) fn report_sync(&mut self, index: usize) -> Result<(), Error> {
        let connection = &mut self.connections[index];
        expect(connection.handle(Event::Readable)?, Action::RequestBuffer)?;
        let received = receive(index, &mut self.buffer)?;
        let buffered_bytes = received - run_decoder(&self.buffer[..received as usize]);
        let capacity = if buffered_bytes > 0 { BUFFER_BYTES } else { 0 };
        let sync = Event::Sync { buffered_bytes, capacity, blocked: 0, needed_bytes: false, armed: true };
        expect(connection.handle(sync)?, NOTHING)
    }
}
