//! The cost of an event by how many connections there are, under one mix: most are idle at any time; who is readable is
//! drawn by lot, half of the times from a hundredth of all (the busy ones), else from all. Of ten, seven have a burst
//! (one receive, all decoded), two a drip (a part of a frame, the rest of it at the next time), one an upload (three full
//! buffers and a rest). Seeds are fixed. An event is one report to the library.
//!
//! All sizes are there at once and take turns. What is not the same is explained by counts of callgrind: instructions of an
//! event, and its misses of the first and the last cache; not for the largest size, which would take it too long.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod support;

use demuxbuf::connection::{Action, Event};
use demuxbuf::receiver::{ReceiverId, Receivers, ReceiversConfig};
use serde_json::{Value, json};
use std::time::Instant;
use support::{Counted, Options, Report, Samples, child, has_valgrind, rotated};

type Error = Box<dyn std::error::Error>;

const CONNECTIONS: [u32; 3] = [1_000, 100_000, 10_000_000];
const BUFFERS: u32 = 64;
const BUFFER_BYTES: u32 = 16384;
/// Connections that are readable in one round.
const READABLE: u32 = 10_000;

fn main() -> Result<(), Error> {
    let options = Options::read();
    if let [name, connections, rounds] = options.child.as_slice() {
        assert_eq!(name, "mix");
        let (mut crowd, rounds) = (Crowd::new(connections.parse()?)?, rounds.parse()?);
        for _ in 0..rounds {
            crowd.play()?;
        }
        crowd.check(rounds);
        println!("{}", crowd.events);
        return Ok(());
    }
    let rounds = options.pick(2, 100, 1000);
    let sizes = CONNECTIONS.map(|connections| options.pick(connections / 100, connections, connections));
    let mut crowds = sizes.into_iter().map(Crowd::new).collect::<Result<Vec<_>, _>>()?;
    let mut samples: Vec<Samples> = sizes.iter().map(|_| Samples::new()).collect();
    for round in 0..=rounds {
        for size in rotated(round, crowds.len()) {
            let crowd = &mut crowds[size];
            let (events, begin) = (crowd.events, Instant::now());
            crowd.play()?;
            let time = begin.elapsed().as_nanos() as f64;
            // The first finds nothing in any cache.
            if round > 0 {
                samples[size].record(time / (crowd.events - events) as f64);
            }
        }
    }
    crowds.iter().for_each(|crowd| crowd.check(rounds + 1));
    let is_counted = !options.smoke && has_valgrind();
    let columns = ["connections", "ns each event", "to fewest", "instructions", "L1 misses", "last-cache misses"];
    let mut report = Report::new("scale", &columns, &options);
    report.fact("rounds", rounds);
    for (at, connections) in sizes.into_iter().enumerate() {
        let time = samples[at].median();
        let mut cells = vec![json!(connections), json!(time), json!(time / samples[0].median())];
        if is_counted && connections <= 100_000 {
            cells.extend(counts(connections)?.map(|count| json!(count)));
        } else {
            cells.extend([Value::Null, Value::Null, Value::Null]);
        }
        report.row(cells);
    }
    report.finish();
    Ok(())
}

/// Connections, and what is under way.
struct Crowd {
    receivers: Receivers,
    ids: Vec<ReceiverId>,
    random: fastrand::Rng,
    events: u64,
    work: Work,
}

/// What was done, as the host counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    received_bytes: u64,
    decoded_bytes: u64,
    /// First parts of frames.
    parked: u64,
    /// All others.
    received: u64,
}

impl Crowd {
    fn new(connections: u32) -> Result<Crowd, Error> {
        let mut receivers = Receivers::new(&ReceiversConfig::new(BUFFERS, connections))?;
        let mut ids = Vec::with_capacity(connections as usize);
        for token in 0..connections {
            let id = receivers.attach(0, token.into())?;
            receivers.handle(id, Event::done(Action::WantRecv))?;
            ids.push(id);
        }
        Ok(Crowd { receivers, ids, random: fastrand::Rng::with_seed(1), events: 0, work: Work::default() })
    }

    fn play(&mut self) -> Result<(), Error> {
        for _ in 0..READABLE {
            let all = self.ids.len();
            let among = if self.random.bool() { all } else { all / 100 + 1 };
            let id = self.ids[self.random.usize(..among)];
            match self.random.u8(..10) {
                0..7 => {
                    let bytes = self.random.u32(50..1500);
                    self.receive(id, &[bytes])?;
                }
                7..9 => self.drip(id)?,
                _ => self.receive(id, &[BUFFER_BYTES, BUFFER_BYTES, BUFFER_BYTES, 700])?,
            }
        }
        self.receivers.handle_timeout(0);
        match self.receivers.poll_grant() {
            None => Ok(()),
            Some(granted) => Err(format!("nobody waits: {granted:?}").into()),
        }
    }

    /// Ends the program unless the library has counted the same work, and all are at rest.
    fn check(&self, rounds: u32) {
        let stats = self.receivers.stats();
        let Work { received_bytes, decoded_bytes, parked, received } = self.work;
        let counted = [stats.received_bytes, stats.consumed_bytes, stats.parked, stats.pool.leased.into()];
        assert_eq!(counted, [received_bytes, decoded_bytes, parked, 0], "the library has done what the host did");
        assert_eq!(parked + received, u64::from(READABLE) * u64::from(rounds), "each who was readable has received");
        assert!(parked > 0 && decoded_bytes > received * u64::from(BUFFER_BYTES) / 10, "there are drips and uploads");
    }

    /// Receives, each time at most so many bytes, and decodes all.
    fn receive(&mut self, id: ReceiverId, receives: &[u32]) -> Result<(), Error> {
        let mut actions = self.report(id, Event::Readable)?;
        let mut receives = receives.iter();
        while actions.has(Action::Recv) || actions.has(Action::Demux) {
            actions = if actions.has(Action::Recv) {
                match receives.next() {
                    Some(&most) => {
                        let bytes = most.min(self.receivers.receive_area(id)?.len() as u32);
                        self.work.received_bytes += u64::from(bytes);
                        self.report(id, Event::Received { bytes })?
                    }
                    None => self.report(id, Event::WouldBlock)?,
                }
            } else {
                let bytes = self.receivers.data(id)?.len() as u32;
                self.events += 1;
                self.work.decoded_bytes += u64::from(bytes);
                self.receivers.decoded(id, bytes, 0)?
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
        if self.receivers.connection(id)?.level() > 0 {
            return self.receive(id, &[20]);
        }
        self.report(id, Event::Readable)?;
        self.receivers.receive_area(id)?[..4].fill(0);
        self.report(id, Event::Received { bytes: 4 })?;
        self.events += 1;
        self.receivers.decoded(id, 0, 20)?;
        self.work.received_bytes += 4;
        self.work.parked += 1;
        Ok(())
    }

    fn report(&mut self, id: ReceiverId, event: Event) -> Result<demuxbuf::connection::Actions, Error> {
        self.events += 1;
        Ok(self.receivers.handle(id, event)?)
    }
}

/// Instructions, and misses of the first and the last cache, of one event: the difference of two runs.
fn counts(connections: u32) -> Result<[f64; 3], Error> {
    let run = |rounds: u32| -> Result<[f64; 4], Error> {
        let mut mix = child("mix", &[connections.to_string(), rounds.to_string()]);
        let counted = Counted::of(&mix, true);
        let events: u64 = demuxbuf_ffi_tests::run(&mut mix).trim().parse()?;
        Ok([events, counted.instructions, counted.first_misses, counted.last_misses].map(|count| count as f64))
    };
    let [few, many] = [run(2)?, run(12)?];
    let events = many[0] - few[0];
    Ok([1, 2, 3].map(|at| (many[at] - few[at]) / events))
}
