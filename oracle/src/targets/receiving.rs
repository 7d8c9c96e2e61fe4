//! Receivers on the memory model, by its public calls alone: whatever is called in whatever order, bytes come out as
//! they went in, what is refused changes nothing, and nothing is held when all is over.

mod host;
mod receiver;

use super::ops::{config, event};
use super::text::{Line, each_line};
use demuxbuf::connection::{Action, Actions, Connection, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolError, ReceiverId};
use demuxbuf::receiving::Totals;
use demuxbuf::scheduler::{LeaseId, TenantId, WaitId};
use receiver::Receiver;
use std::fmt::Display;

/// Lines of the configuration, wherever they are; then operations.
pub(super) const EXAMPLES: &[&str] = &[
    "buffers 9",
    "bytes 256",
    "receivers 4",
    "mode 1",
    "mode 4",
    "in-flight 2",
    "reads 1",
    "resume 10",
    "pause-when-blocked",
    "reads-ahead",
    "wipe",
    "counting",
    "grace-ms 80",
    "blocked-ms 80",
    "waits 2",
    "tenants 2",
    "classes 2",
    "reserve 1 1",
    "cap 1 8",
    "attach 0",
    "attach 0",
    "attach-with 0 70",
    "adopt 0 0 10 70",
    "take 0",
    "request 0",
    "request-in 0 1",
    "tenant 1 0 max",
    "tenant 2 1 2",
    "remove-tenant 0",
    "belong 0 1",
    "belong 1 2",
    "belong 2 1",
    "belong 3 0",
    "release 0",
    "cancel 0",
    "poll",
    "drain",
    "limit 8",
    "limit 10",
    "limit 100",
    "times 80 160",
    "later 5",
    "later 200",
    "later 10",
    "wait 20",
    "tick 5",
    "obey 0 0 70",
    "obey 0 1 70",
    "obey 0 2 70",
    "obey 0 3 200",
    "obey 1 0 200",
    "obey 2 2 1",
    "obey 3 3 70",
    "decoded 0 5 9 20",
    "readable 0",
    "peer-closed 0",
    "kernel-full 0",
    "readable 1",
    "readable 2",
    "received 0 70",
    "would-block 0",
    "end 0",
    "error 0",
    "consumed 0 5",
    "need-more 0 5",
    "need-more 0 300",
    "block 0 1",
    "unblock 0 1",
    "yield 0",
    "wake 0",
    "pause 0",
    "continue 0",
    "fail 0",
    "done 0 1",
    "close 0",
    "submit 0",
    "submit 1",
    "granted 0 64",
    "reclaim-requested 0",
    "sync 0 5 64 0 0 0",
];

const MS: u64 = 1_000_000;

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let mut play = Play::new(text)?;
    each_line(text, |line| play.step(line).and_then(|()| play.check()))?;
    play.finish()
}

/// What must be the same after a call that was refused.
type Seen = (Vec<(Connection, Actions)>, u64, Totals, u32);

struct Play {
    pool: Pool,
    buffer_bytes: u32,
    /// Free buffers before anything happened.
    free: u32,
    /// How many of them are not used by the latest limit.
    withheld: u32,
    now_ns: u64,
    receivers: Vec<Receiver>,
    closed: Vec<ReceiverId>,
    leases: Vec<(LeaseId, Vec<u8>)>,
    waits: Vec<(WaitId, u64)>,
    tenants: Vec<TenantId>,
    tokens: u64,
    /// The next byte that a peer sends.
    next: u8,
    dropped: u64,
}

impl Play {
    fn new(text: &[u8]) -> Result<Play, String> {
        let config = config(text);
        let pool = Pool::new(&config).map_err(|error| format!("an allowed configuration: {error}"))?;
        Ok(Play {
            free: pool.stats().scheduler.free,
            withheld: 0,
            pool,
            buffer_bytes: config.buffer_bytes,
            now_ns: 0,
            receivers: Vec::new(),
            closed: Vec::new(),
            leases: Vec::new(),
            waits: Vec::new(),
            tenants: Vec::new(),
            tokens: 0,
            next: 0,
            dropped: 0,
        })
    }

    fn step(&mut self, line: Line<'_>) -> Result<(), String> {
        let (first, second) = (line.short(0) as usize, line.short(1));
        match line.word {
            "attach" => self.attach(first % 2 == 1, 0),
            "attach-with" => self.attach(first % 2 == 1, second % (self.buffer_bytes + 2)),
            "adopt" => self.adopt(first, second as usize, line.short(2), line.short(3)),
            "take" => self.take(first),
            "submit" => self.report(first, Event::done(Action::Recv)),
            "request" => self.request(first as u8, 0),
            "request-in" => self.request(first as u8, second as usize),
            "tenant" => self.create_tenant(line.short(0), second, line.short(2)),
            "remove-tenant" => self.remove_tenant(first),
            "belong" => self.belong(first, second as usize),
            "release" => self.release(first),
            "cancel" => self.cancel(first),
            "poll" => self.poll().map(|_| ()),
            "drain" => self.drain(),
            "limit" => self.set_limit(line.number(0)),
            "times" => self.set_times(line.number(0).saturating_mul(MS), line.number(1).saturating_mul(MS)),
            // Milliseconds.
            "later" => self.tick(self.now_ns.saturating_add(line.number(0).saturating_mul(MS))),
            // Nothing happens for this many loop iterations.
            "wait" => (0..first % 32).try_for_each(|_| self.tick(self.now_ns.saturating_add(10 * MS))),
            "tick" => self.tick(line.number(0)),
            "obey" => self.obey(first, second, line.short(2)),
            "decoded" => self.decoded(first, second, line.short(2), line.short(3)),
            _ => event(line).map_or(Ok(()), |event| self.report(first, event)),
        }
    }

    fn seen(&self) -> Seen {
        let of = |receiver: &Receiver| {
            let pending = self.pool.pending(receiver.id).expect("it is attached");
            let connection = self.pool.connection(receiver.id).expect("it is attached");
            // One that is shed may learn of that by any call.
            if pending.has(Action::Shed) { (Connection::default(), Action::Shed.into()) } else { (connection, pending) }
        };
        let receivers = self.receivers.iter().map(of).collect();
        (receivers, self.pool.counts().received_bytes, self.pool.totals(), self.pool.memory().free_buffers())
    }

    /// Whether a call was let through; one that was refused changed nothing.
    fn ended<T, E: Display>(&self, before: &Seen, outcome: Result<T, E>) -> Result<Option<T>, String> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(_) if self.seen() == *before => Ok(None),
            Err(error) => Err(format!("refused with a change: {error}: {before:?}, {:?}", self.seen())),
        }
    }

    fn which(&self, nth: usize) -> Option<usize> {
        nth.checked_rem(self.receivers.len())
    }

    fn sent(&mut self, bytes: u32) -> Vec<u8> {
        let sent = (0..bytes).map(|at| self.next.wrapping_add(at as u8)).collect();
        self.next = self.next.wrapping_add(bytes as u8).wrapping_add(1);
        sent
    }

    fn attach(&mut self, unknown_length: bool, bytes: u32) -> Result<(), String> {
        self.tokens += 1;
        let (before, token, undecoded) = (self.seen(), self.tokens, self.sent(bytes));
        let outcome =
            self.pool.attach_with(&AttachOptions { unknown_length, ..AttachOptions::new(0, token) }, &undecoded);
        if let Some(id) = self.ended(&before, outcome)? {
            self.receivers.push(Receiver { id, token, undecoded, seen: 0, in_flight: None, is_closed: false });
        }
        Ok(())
    }

    fn tick(&mut self, now_ns: u64) -> Result<(), String> {
        self.now_ns = self.now_ns.max(now_ns);
        self.pool.handle_timeout(now_ns);
        Ok(())
    }

    /// Whether there was a notice.
    fn poll(&mut self) -> Result<bool, String> {
        match self.pool.poll_notice() {
            None => return Ok(false),
            Some(Notice::Lease { wait, token, lease }) => {
                let nth = self.waits.iter().position(|&known| known == (wait, token)).ok_or("an unknown wait")?;
                self.waits.remove(nth);
                self.lease(lease)?;
            }
            Some(Notice::Receiver { id, token, actions }) => {
                let is_known = self.receivers.iter().any(|receiver| (receiver.id, receiver.token) == (id, token));
                if !is_known || self.pool.pending(id) != Ok(actions) || actions.is_empty() {
                    return Err(format!("a notice of {id:?} with {actions:?}"));
                }
            }
            Some(notice) => return Err(format!("{notice:?}")),
        }
        Ok(true)
    }

    /// Each receiver, each trial and each wait is named a few times at most.
    fn drain(&mut self) -> Result<(), String> {
        for _ in 0..4 * (self.receivers.len() + self.waits.len()) + 64 {
            if !self.poll()? {
                return Ok(());
            }
            self.check()?;
        }
        Err("the notices have no end".into())
    }

    /// Does one of the things that are asked for.
    fn obey(&mut self, nth: usize, choice: u32, amount: u32) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let Receiver { id, ref undecoded, ref in_flight, .. } = self.receivers[at];
        let room = in_flight.as_ref().map_or(0, Vec::len) as u32;
        let (actions, there) = (self.pool.pending(id).expect("it is attached"), undecoded.len() as u32);
        let outcomes = actions.intersection(Actions::ACKNOWLEDGED);
        if actions.has(Action::Shed) && choice % 2 == 0 {
            return self.report(at, Event::Close);
        }
        if !outcomes.is_empty() && choice % 8 != 7 {
            return self.report(at, Event::Done(outcomes));
        }
        if room > 0 {
            return match choice % 8 {
                0..3 => self.report(at, Event::Received { bytes: [room, 1 + amount % room, 1][choice as usize % 3] }),
                3 => self.report(at, Event::WouldBlock),
                4 => self.decoded(at, amount % (there + 1), amount % 2, 0),
                _ => Ok(()),
            };
        }
        if actions.has(Action::Decode) {
            return match choice % 8 {
                0 => self.decoded(at, there, 0, 0),
                1 => self.decoded(at, amount % (there + 1), 1 + amount % self.buffer_bytes, 0),
                2 => self.decoded(at, 0, 1 + amount % self.buffer_bytes, amount),
                3 => self.report(at, Event::Consumed { bytes: amount % (there + 1) }),
                4 => self.report(at, Event::Block { reasons: 1 }),
                5 => self.report(at, Event::Yield),
                6 => self.report(at, Event::NeedMore { bytes: 1 }),
                _ => self.decoded(at, 0, (self.buffer_bytes - there).max(1), 0),
            };
        }
        if actions.has(Action::RecvWhole) {
            let whole = self.pool.recv_min(id).expect("it is attached");
            let bytes = [whole, whole, whole, 1 + amount % whole, whole + 1][choice as usize % 5];
            return match choice % 8 {
                6 => self.report(at, Event::WouldBlock),
                7 => self.report(at, [Event::KernelFull, Event::PeerClosed, Event::EndOfStream][amount as usize % 3]),
                _ if amount % 7 == 0 => self.received_and_decoded(at, bytes),
                _ => self.report(at, Event::Received { bytes }),
            };
        }
        if actions.has(Action::Peek) {
            let needed = Event::NeedMore { bytes: 1 + amount % self.buffer_bytes };
            let outcomes = [needed, needed, needed, Event::WouldBlock, Event::KernelFull, Event::PeerClosed, needed];
            return self.report(at, outcomes[choice as usize % outcomes.len()]);
        }
        if actions.has(Action::Recv) {
            let room = self.pool.receive_area(id).expect("it is attached").len() as u32;
            let bytes = [room, 1 + amount % room, 1][choice as usize % 3];
            if choice >= 3 && self.report(at, Event::done(Action::Recv)).is_ok() && self.is_in_flight(at) {
                return Ok(());
            }
            return self.report(at, if choice < 6 { Event::Received { bytes } } else { Event::WouldBlock });
        }
        self.report(at, [Event::Readable, Event::Wake, Event::Unblock { reasons: 1 }][choice as usize % 3])
    }

    fn report(&mut self, nth: usize, event: Event) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let (before, id) = (self.seen(), self.receivers[at].id);
        let pending = self.pool.pending(id).expect("it is attached");
        let is_look = pending.has(Action::Peek);
        let received = match event {
            Event::Received { bytes } => self.receive(at, bytes),
            Event::Done(actions) if actions.has(Action::Recv) => self.receive(at, self.buffer_bytes),
            _ => Vec::new(),
        };
        let outcome = self.pool.handle(id, event);
        let Some(actions) = self.ended(&before, outcome)? else { return Ok(()) };
        let is_in_flight = self.is_in_flight(at);
        let receiver = &mut self.receivers[at];
        let was_in_flight = receiver.in_flight.take_if(|_| !is_in_flight).is_some();
        match event {
            Event::Done(actions) if actions.has(Action::Recv) => receiver.in_flight = Some(received),
            _ if receiver.is_closed && was_in_flight => return self.finished(at, event, actions),
            _ if receiver.is_closed => {}
            Event::Received { bytes } if bytes as usize != received.len() => {
                return Err(format!("{bytes} bytes are accepted, room was for {}", received.len()));
            }
            Event::Received { .. } if pending.has(Action::Discard) => {}
            Event::Received { .. } => {
                receiver.seen = if is_look { received.len() } else { 0 };
                receiver.undecoded.extend(received);
            }
            Event::Consumed { bytes } => receiver.consume(bytes),
            Event::Close if is_in_flight => {
                receiver.is_closed = true;
                self.dropped += receiver.lose();
            }
            Event::Close if !actions.has(Action::Finished) => return Err("it does not finish".into()),
            Event::Close => {
                let mut receiver = self.receivers.remove(at);
                self.dropped += receiver.lose();
                self.closed.push(receiver.id);
                return refused(self.pool.handle(receiver.id, Event::Readable));
            }
            _ => {}
        }
        if self.pool.pending(id) != Ok(actions) {
            return Err(format!("{actions:?} returned, {:?} pending", self.pool.pending(id)));
        }
        Ok(())
    }

    /// A receiver that was closed has had the outcome of its receive.
    fn finished(&mut self, at: usize, event: Event, actions: Actions) -> Result<(), String> {
        let receiver = self.receivers.remove(at);
        self.closed.push(receiver.id);
        if let Event::Received { bytes } = event {
            self.dropped += u64::from(bytes);
        }
        if actions != Action::Finished.into() {
            return Err(format!("{event:?} of a closed receiver: {actions:?}"));
        }
        refused(self.pool.handle(receiver.id, Event::Readable))
    }

    fn is_in_flight(&self, at: usize) -> bool {
        self.pool.connection(self.receivers[at].id).is_ok_and(|connection| connection.is_in_flight())
    }

    /// As many of these bytes as there is room for; those of a receive in flight were written when it was submitted.
    fn receive(&mut self, at: usize, bytes: u32) -> Vec<u8> {
        let Receiver { id, ref in_flight, .. } = self.receivers[at];
        if let Some(written) = in_flight {
            return written[..(bytes as usize).min(written.len())].to_vec();
        }
        let room = self.pool.receive_area(id).expect("it is attached").len() as u32;
        let sent = self.sent(bytes.min(room));
        self.pool.receive_area(id).expect("it is attached")[..sent.len()].copy_from_slice(&sent);
        sent
    }

    fn decoded(&mut self, nth: usize, consumed: u32, needed: u32, usable: u32) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let before = self.seen();
        let outcome = self.pool.decoded_usable(self.receivers[at].id, consumed, needed, usable);
        if self.ended(&before, outcome)?.is_some() {
            self.receivers[at].consume(consumed);
        }
        Ok(())
    }

    /// Of a host that decodes before it reports; what was decoded before is only received.
    fn received_and_decoded(&mut self, at: usize, bytes: u32) -> Result<(), String> {
        let (before, id) = (self.seen(), self.receivers[at].id);
        let is_away = self.pool.pending(id).expect("it is attached").has(Action::Discard);
        let outcome = self.pool.received_and_decoded(id, bytes);
        if self.ended(&before, outcome)?.is_some() && !is_away {
            self.receivers[at].undecoded.clear();
        }
        Ok(())
    }

    /// What must hold after every call.
    fn check(&mut self) -> Result<(), String> {
        self.pool.check_invariants().map_err(|broken| format!("{broken}: {:?}", self.seen()))?;
        for receiver in &mut self.receivers {
            let Receiver { id, is_closed, .. } = *receiver;
            let connection = self.pool.connection(id).map_err(|error| error.to_string())?;
            let pending = self.pool.pending(id).map_err(|error| error.to_string())?;
            let data = self.pool.data(id).map_err(|error| error.to_string())?;
            let may_be_lost =
                is_closed || pending.has(Action::Shed) || connection.is_failed() || connection.end().is_some();
            if data.len() + receiver.seen == receiver.undecoded.len() {
                receiver.leave_seen();
            }
            if data.is_empty() && may_be_lost {
                self.dropped += receiver.lose();
            }
            let undecoded = &receiver.undecoded;
            if data != undecoded {
                return Err(format!("{data:?} is there, undecoded are {undecoded:?}: {connection:?}, {pending:?}"));
            }
            if pending.has(Action::Decode) && data.is_empty() {
                return Err("nothing is to be decoded".into());
            }
            let room = self.pool.receive_area(id).map_err(|error| error.to_string())?.len();
            if (pending.has(Action::Recv) || pending.has(Action::Peek)) != (room > 0) {
                return Err(format!("room for {room} bytes, {pending:?}"));
            }
        }
        for (lease, content) in &self.leases {
            if self.pool.buffer(*lease).map_err(|error| error.to_string())? != content {
                return Err(format!("{lease:?} was written to"));
            }
        }
        match self.closed.iter().find(|&&id| self.pool.pending(id).is_ok()) {
            Some(id) => Err(format!("{id:?} was closed")),
            None => Ok(()),
        }
    }

    /// All is over, in one order or the other; then everything is free again.
    fn finish(&mut self) -> Result<(), String> {
        self.drain()?;
        while !self.receivers.is_empty() {
            let at = self.tokens as usize % self.receivers.len();
            let event = if self.receivers[at].is_closed { Event::WouldBlock } else { Event::Close };
            self.report(at, event)?;
            self.check()?;
            self.release(0)?;
            self.check()?;
        }
        while !self.leases.is_empty() || !self.waits.is_empty() {
            self.release(0)?;
            self.cancel(1)?;
            self.drain()?;
        }
        while let Some(&tenant) = self.tenants.last() {
            self.remove_tenant(self.tenants.len() - 1)?;
            refused(self.pool.describe_tenant(tenant))?;
        }
        // From the next advance on.
        self.tick(self.now_ns)?;
        self.check()?;
        let (memory, counts) = (self.pool.memory(), self.pool.counts());
        let cells: u32 = memory.cells().map(|(_, cells)| cells).sum();
        let all = self.free - self.withheld;
        let (free, dropped) = (self.pool.stats().scheduler.free, self.dropped);
        if (free, cells, counts.dropped_bytes) == (all, 0, dropped) {
            return Ok(());
        }
        Err(format!("{free} of {all} buffers are free, {cells} cells in use, {dropped} bytes were dropped: {counts:?}"))
    }
}

fn refused<T>(outcome: Result<T, PoolError>) -> Result<(), String> {
    if outcome.is_err() { Ok(()) } else { Err("a handle that is over is accepted".into()) }
}
