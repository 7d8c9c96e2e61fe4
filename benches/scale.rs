//! The cost of an event by how many connections there are, under one mix: most are idle at any time. The readable ones
//! are drawn at random, half of the times from a hundredth of all (the busy ones), else from all. Of ten, seven have a
//! burst (one receive, all decoded), two a drip (a part of a frame, the rest of it at the next time), one an upload
//! (three full buffers and a rest). Seeds are fixed. An event is one report to the library.
//!
//! All sizes are there at once and take turns. What is not the same is explained twice. By *bare entries* in the same
//! run: the same draws, and for each readable connection one entry of 48 bytes is read and changed, which is the least
//! that any table of connections waits for; *the rest* is what the library takes longer, of the same round. And by
//! counts of callgrind: instructions of an event, and its misses of a first cache of 32 KiB and of a last one of 1 or
//! 32 MiB, once most of the busy ones had a turn. Setting up the largest crowd takes callgrind a minute for each of the
//! two.
//!
//! A third turn has *prefetch*: for each batch of readable connections the hints are given first, then the events
//! follow.
//!
//! No table of handles is read: they follow each other, and a poller would name the next one.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod support;

use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig, ReceiverId};
use serde_json::{Value, json};
use std::time::Instant;
use support::{Counted, Options, Report, Samples, child, filled, has_valgrind, rotated};

type Error = Box<dyn std::error::Error>;

const CONNECTIONS: [u32; 3] = [1_000, 100_000, 10_000_000];
const BUFFER_BYTES: u32 = 16448;
/// 64 buffers, or a cell of 64 bytes for each connection: it takes 512 bytes of memory. More connections do not have
/// parts of frames at once.
const MEMORY_BYTES_MIN: u64 = 64 * BUFFER_BYTES as u64;
const MEMORY_BYTES_EACH: u64 = 512;
const DRIPPING_MAX: u32 = 1 << 22;
/// Connections that are readable together: few enough that the system seldom interrupts what is timed.
const READABLE: u32 = 1_000;
/// A poller returns this number of them at once.
const BATCH: u32 = 50;
/// So often in one turn.
const PLAYS: u32 = 10;
/// Rounds until nearly all of the busy ones of the largest crowd had a turn.
const WARM_UP: u32 = 60;
/// Sizes of a last cache for which misses are counted, in bytes: like a second and a third one.
const LAST_CACHES: [u32; 2] = [1 << 20, 32 << 20];

fn main() -> Result<(), Error> {
    let options = Options::read();
    if let [name, connections] = options.child.as_slice() {
        assert_eq!(name, "mix");
        let mut crowd = Crowd::new(connections.parse()?)?;
        for _ in 0..WARM_UP * PLAYS {
            crowd.play(false)?;
        }
        println!("{}", crowd.play_counted()?);
        crowd.check(2 * WARM_UP);
        return Ok(());
    }
    let (warm_up, rounds) = (options.pick(1, WARM_UP, WARM_UP), options.pick(2, 300, 3000));
    let sizes = CONNECTIONS.map(|connections| options.pick(connections / 100, connections, connections));
    let mut crowds = sizes.into_iter().map(Crowd::new).collect::<Result<Vec<_>, _>>()?;
    let mut bare = sizes.map(Bare::new);
    let mut samples: Vec<[Samples; 5]> = sizes.iter().map(|_| [(); 5].map(|()| Samples::new())).collect();
    for round in 0..warm_up + rounds {
        // Of the library, of the library with prefetch, and of bare entries.
        let mut times = [[[0.0; 3]; PLAYS as usize]; CONNECTIONS.len()];
        let mut events = [[[1.0; 3]; PLAYS as usize]; CONNECTIONS.len()];
        for turn in rotated(round, 3 * crowds.len()) {
            let (size, what) = (turn / 3, turn % 3);
            for play in 0..PLAYS as usize {
                let begin = Instant::now();
                match what {
                    2 => bare[size].play(),
                    _ => events[size][play][what] = crowds[size].play(what == 1)? as f64,
                }
                times[size][play][what] = begin.elapsed().as_nanos() as f64;
            }
        }
        if round < warm_up {
            continue;
        }
        for (size, samples) in samples.iter_mut().enumerate() {
            for ([time, ahead, bare], [events, events_ahead, _]) in times[size].into_iter().zip(events[size]) {
                let (time, ahead, bare) = (time / events, ahead / events_ahead, bare / events);
                let all = [time, bare, (time - bare).max(0.0), ahead, ahead / time];
                samples.iter_mut().zip(all).for_each(|(samples, figure)| samples.record(figure));
            }
        }
    }
    crowds.iter().for_each(|crowd| crowd.check(2 * (warm_up + rounds)));
    bare.iter().for_each(|bare| bare.check(warm_up + rounds));
    let is_counted = !options.smoke && has_valgrind();
    let columns = [
        "connections",
        "ns each event",
        "to fewest",
        "bare entries: ns",
        "the rest: ns",
        "the rest to fewest",
        "prefetched: ns",
        "to not prefetched",
        "prefetched to fewest",
        "instructions",
        "misses of 32 KiB",
        "of 1 MiB",
        "of 32 MiB",
    ];
    let mut report = Report::new("scale", &columns, &options);
    report.fact("rounds", rounds);
    for (at, connections) in sizes.into_iter().enumerate() {
        let [time, bare, rest, ahead, gain] = [0, 1, 2, 3, 4].map(|what| samples[at][what].median());
        let mut cells = vec![json!(connections), json!(time), json!(time / samples[0][0].median())];
        cells.extend([json!(bare), json!(rest), json!(rest / samples[0][2].median())]);
        cells.extend([json!(ahead), json!(gain), json!(ahead / samples[0][3].median())]);
        match is_counted.then(|| counts(connections)).transpose()? {
            Some(counts) => cells.extend(counts.map(|count| json!(count))),
            None => cells.extend([(); 4].map(|()| Value::Null)),
        }
        report.row(cells);
    }
    report.finish();
    Ok(())
}

/// The connections that are readable, and what comes.
struct Lots {
    connections: u32,
    random: fastrand::Rng,
}

struct Lot {
    connection: u32,
    kind: u8,
    bytes: u32,
}

impl Lots {
    fn new(connections: u32) -> Lots {
        Lots { connections, random: fastrand::Rng::with_seed(1) }
    }

    fn draw(&mut self) -> Lot {
        let among = if self.random.bool() { self.connections } else { self.connections / 100 + 1 };
        Lot { connection: self.random.u32(..among), kind: self.random.u8(..10), bytes: self.random.u32(50..1500) }
    }
}

/// What any table of connections comes to: the same lots, and an entry as large as the library's for each. One end is
/// read before it is known which entry comes next, the other is changed.
struct Bare {
    lots: Lots,
    entries: Vec<[u32; 12]>,
}

impl Bare {
    fn new(connections: u32) -> Bare {
        Bare { lots: Lots::new(connections), entries: filled(connections as usize, [0; 12]) }
    }

    fn play(&mut self) {
        let mut always_0 = 0;
        for _ in 0..READABLE {
            let lot = self.lots.draw();
            let entry = &mut self.entries[(lot.connection + always_0) as usize];
            always_0 = entry[0];
            entry[11] += 1;
        }
    }

    fn check(&self, rounds: u32) {
        let changed: u32 = self.entries.iter().map(|entry| entry[11]).sum();
        assert_eq!(changed, READABLE * PLAYS * rounds, "each lot has changed an entry");
    }
}

/// Connections, and what is under way.
struct Crowd {
    pool: Pool,
    lots: Lots,
    /// The handle of the first; the next ones follow it.
    first: u64,
    events: u64,
    work: Work,
}

/// What was done, as the host counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    received_bytes: u64,
    decoded_bytes: u64,
    /// First parts of frames.
    begun: u64,
    /// All others.
    received: u64,
}

impl Crowd {
    fn new(connections: u32) -> Result<Crowd, Error> {
        let cells_bytes = MEMORY_BYTES_EACH * u64::from(connections.min(DRIPPING_MAX));
        let mut pool = Pool::new(&PoolConfig::new(cells_bytes.max(MEMORY_BYTES_MIN), connections))?;
        let mut first = None;
        for token in 0..u64::from(connections) {
            let id = pool.attach(&AttachOptions::new(0, token))?;
            pool.handle(id, Event::done(Action::WantRecv))?;
            let first = *first.get_or_insert(id.to_bits());
            assert_eq!(id.to_bits(), first + token, "rows are used in order");
        }
        let first = first.ok_or("there are some")?;
        Ok(Crowd { pool, lots: Lots::new(connections), first, events: 0, work: Work::default() })
    }

    /// Returns how many events it took. The readable connections come in batches, as a poller returns them; with
    /// `is_ahead` each batch is prefetched first.
    fn play(&mut self, is_ahead: bool) -> Result<u64, Error> {
        let before = self.events;
        for _ in 0..READABLE / BATCH {
            let batch: [Lot; BATCH as usize] = std::array::from_fn(|_| self.lots.draw());
            if is_ahead {
                batch.iter().for_each(|lot| self.pool.prefetch(self.id_of(lot)));
            }
            for lot in batch {
                let id = self.id_of(&lot);
                match lot.kind {
                    0..7 => self.receive(id, &[lot.bytes])?,
                    7..9 => self.drip(id)?,
                    _ => self.receive(id, &[BUFFER_BYTES, BUFFER_BYTES, BUFFER_BYTES, 700])?,
                }
            }
        }
        self.pool.handle_timeout(0);
        match self.pool.poll_notice() {
            None => Ok(self.events - before),
            Some(granted) => Err(format!("a grant although no request waits: {granted:?}").into()),
        }
    }

    fn id_of(&self, lot: &Lot) -> ReceiverId {
        ReceiverId::from_bits(self.first + u64::from(lot.connection))
    }

    /// As often as to warm up. Callgrind knows it by its name.
    #[inline(never)]
    fn play_counted(&mut self) -> Result<u64, Error> {
        (0..WARM_UP * PLAYS).map(|_| self.play(false)).sum()
    }

    /// Ends the program unless the library has counted the same work, and all are at rest.
    fn check(&self, rounds: u32) {
        let stats = self.pool.stats();
        let Work { received_bytes, decoded_bytes, begun, received } = self.work;
        let counted = [stats.received_bytes, stats.consumed_bytes, stats.memory_model.claims];
        assert_eq!(
            counted,
            [received_bytes, decoded_bytes, 0],
            "the library has done what the host did, without a wait"
        );
        assert_eq!(
            begun + received,
            u64::from(READABLE * PLAYS) * u64::from(rounds),
            "each readable connection has received"
        );
        assert!(begun > 0 && decoded_bytes > received * u64::from(BUFFER_BYTES) / 10, "there are drips and uploads");
    }

    /// Receives, each time at most the next number of bytes, and decodes all.
    fn receive(&mut self, id: ReceiverId, receives: &[u32]) -> Result<(), Error> {
        let mut actions = self.report(id, Event::Readable)?;
        let mut receives = receives.iter();
        while actions.has(Action::Recv) || actions.has(Action::Decode) {
            actions = if actions.has(Action::Recv) {
                match receives.next() {
                    Some(&most) => {
                        let bytes = most.min(self.pool.receive_area(id)?.len() as u32);
                        self.work.received_bytes += u64::from(bytes);
                        self.report(id, Event::Received { bytes })?
                    }
                    None => self.report(id, Event::WouldBlock)?,
                }
            } else {
                let bytes = self.pool.data(id)?.len() as u32;
                self.events += 1;
                self.work.decoded_bytes += u64::from(bytes);
                self.pool.decoded(id, bytes, 0)?
            };
        }
        if receives.next().is_some() {
            return Err("not all was received".into());
        }
        self.work.received += 1;
        if actions.has(Action::Reschedule) {
            self.report(id, Event::done(Action::Reschedule))?;
            self.report(id, Event::Wake)?;
        }
        Ok(())
    }

    /// The first part of a frame of 24 bytes, or its rest.
    fn drip(&mut self, id: ReceiverId) -> Result<(), Error> {
        if self.pool.connection(id)?.buffered_bytes() > 0 {
            return self.receive(id, &[20]);
        }
        self.report(id, Event::Readable)?;
        self.pool.receive_area(id)?[..4].fill(0);
        self.report(id, Event::Received { bytes: 4 })?;
        self.events += 1;
        self.pool.decoded(id, 0, 20)?;
        self.work.received_bytes += 4;
        self.work.begun += 1;
        Ok(())
    }

    fn report(&mut self, id: ReceiverId, event: Event) -> Result<demuxbuf::connection::Actions, Error> {
        self.events += 1;
        Ok(self.pool.handle(id, event)?)
    }
}

/// Of one event: instructions, misses of the first cache, and of each last one. Setting up and warming up are
/// simulated, too, but not counted.
fn counts(connections: u32) -> Result<[f64; 4], Error> {
    let mut counts = [0.0; 4];
    for (at, bytes) in LAST_CACHES.into_iter().enumerate() {
        // The machine's own caches callgrind would guess, and not always right.
        let caches = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", &format!("--LL={bytes},16,64")];
        let options = [&caches[..], &["--toggle-collect=*Crowd*play_counted"]].concat();
        let (counted, events) = Counted::of(&child("mix", &[connections.to_string()]), &options);
        let events: f64 = events.trim().parse()?;
        let each = [counted.instructions, counted.first_misses, counted.last_misses].map(|count| count as f64 / events);
        (counts[0], counts[1], counts[2 + at]) = (each[0], each[1], each[2]);
    }
    Ok(counts)
}
