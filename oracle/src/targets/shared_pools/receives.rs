//! What receivers receive, in each of the ways in which they can, and what they do besides.

use super::{Play, Receiver};
use crate::system::{CArea, System};
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};

/// A receive that was submitted.
pub(super) struct InFlight(CArea);

impl Receiver {
    /// A receive brought bytes, or showed them, or brought what was decoded before.
    fn receive(&mut self, received: Vec<u8>, is_look: bool, is_away: bool) {
        if !is_away {
            self.seen = if is_look { received.len() } else { 0 };
            self.undecoded.extend(received);
        }
    }

    fn consume(&mut self, bytes: u32) {
        self.undecoded.drain(..bytes as usize);
        self.seen = self.seen.min(self.undecoded.len());
    }

    /// What was only looked at is in the kernel.
    pub(super) fn leave_seen(&mut self) {
        self.undecoded.truncate(self.undecoded.len() - std::mem::take(&mut self.seen));
    }
}

impl Play {
    /// Does one of the things that are asked for.
    pub(super) fn obey(&mut self, nth: usize, choice: u32, amount: u32) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let (id, there) = (self.receivers[at].id, self.receivers[at].undecoded.len() as u32);
        let step = self.home(at).pending(id).map_err(|status| format!("a receiver is refused with {status}"))?;
        let actions = Actions::from_bits(step.actions).ok_or("an unknown action")?;
        let outcomes = actions.intersection(Actions::ACKNOWLEDGED);
        if actions.has(Action::Shed) && choice % 2 == 0 {
            return self.report(at, Event::Close);
        }
        if !outcomes.is_empty() && choice % 8 != 7 {
            return self.report(at, Event::Done(outcomes));
        }
        if let Some(InFlight(area)) = &self.receivers[at].in_flight {
            let bytes = [area.bytes(), 1 + amount % area.bytes(), 1][choice as usize % 3];
            let outcome = [Event::Received { bytes }, Event::WouldBlock, Event::EndOfStream];
            return self.report(at, outcome[[0, 0, 0, 0, 1, 1, 1, 2][choice as usize % 8]]);
        }
        if actions.has(Action::Decode) {
            return self.decode(at, choice, amount, there);
        }
        if actions.has(Action::RecvWhole) && choice % 4 < 3 {
            let bytes = if choice % 16 == 1 { 1 + amount % step.area } else { step.area };
            return self.report(at, Event::Received { bytes });
        }
        if actions.has(Action::Peek) {
            return self.look(at, choice, amount);
        }
        if actions.has(Action::Recv) {
            let bytes = [step.area, 1 + amount % step.area, 1][choice as usize % 3];
            return match choice % 8 {
                3 => self.deliver(at, bytes),
                4 | 5 if !actions.has(Action::RecvWhole) => self.report(at, Event::done(Action::Recv)),
                6 => self.report(at, Event::WouldBlock),
                7 => self.report(at, Event::KernelFull),
                _ => self.report(at, Event::Received { bytes }),
            };
        }
        self.report(at, [Event::Readable, Event::Wake, Event::Unblock { reasons: 1 }][choice as usize % 3])
    }

    fn decode(&mut self, at: usize, choice: u32, amount: u32, there: u32) -> Result<(), String> {
        match choice % 8 {
            0 => self.decoded(at, there, 0),
            1 | 2 => self.decoded(at, amount % (there + 1), 1 + amount % self.buffer_bytes),
            3 => self.report(at, Event::Consumed { bytes: amount % (there + 1) }),
            4 => self.report(at, Event::Block { reasons: 1 }),
            5 => self.delivered(at, amount % (there + 1), amount % self.buffer_bytes),
            6 => self.export(at).map(|_| ()),
            _ => self.decoded(at, 0, self.buffer_bytes.saturating_sub(there).max(1)),
        }
    }

    /// A look at what stays in the kernel.
    fn look(&mut self, at: usize, choice: u32, amount: u32) -> Result<(), String> {
        let id = self.receivers[at].id;
        if let Some(area) = self.home(at).area(id) {
            area.write(&vec![0x5a; area.bytes() as usize]);
        }
        let event = match choice % 8 {
            0 => Event::WouldBlock,
            1 => Event::KernelFull,
            2 => Event::PeerClosed,
            3 => Event::NeedMore { bytes: 1 + amount % 64 },
            4 => Event::Yield,
            _ => Event::NeedMore { bytes: 1 + amount % (self.buffer_bytes + 2) },
        };
        self.report(at, event)
    }

    pub(super) fn report(&mut self, nth: usize, event: Event) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let Receiver { id, .. } = self.receivers[at];
        let shown = self.home(at).area(id);
        let before = self.home(at).pending(id).map_or(0, |step| step.actions);
        let before = Actions::from_bits(before).unwrap_or_default();
        let received = self.receive(at, event, shown.as_ref());
        let Ok(step) = self.home(at).report(id, event) else { return Ok(()) };
        let is_finished = step.actions == Actions::from(Action::Finished).bits();
        match event {
            Event::Received { bytes } if bytes as usize != received.len() => {
                return Err(format!("{bytes} bytes are accepted, room was for {}", received.len()));
            }
            Event::Received { .. } => {
                self.receivers[at].in_flight = None;
                let is_away = before.has(Action::RecvWhole) && before.has(Action::Discard);
                self.receivers[at].receive(received, before.has(Action::Peek), is_away);
            }
            Event::WouldBlock | Event::WouldBlockArmed | Event::EndOfStream | Event::TransportError => {
                self.receivers[at].in_flight = None;
            }
            Event::Done(actions) if actions.has(Action::Recv) => {
                let area = shown.ok_or("a receive is submitted that was not allowed")?;
                area.fill();
                self.receivers[at].in_flight = Some(InFlight(area));
            }
            Event::Consumed { bytes } => self.receivers[at].consume(bytes),
            Event::Close if self.receivers[at].in_flight.is_some() => self.receivers[at].is_closing = true,
            Event::Close if !is_finished => return Err(format!("it does not finish: {:#x}", step.actions)),
            Event::Close => return self.finish_receiver(at),
            _ => {}
        }
        let Receiver { is_closing, ref in_flight, .. } = self.receivers[at];
        match (is_closing && in_flight.is_none(), is_finished) {
            (true, true) => self.finish_receiver(at),
            (false, false) => Ok(()),
            _ => Err(format!("closed: {is_closing}, and then {:#x}", step.actions)),
        }
    }

    /// Writes what a receive brings to where it goes.
    fn receive(&mut self, at: usize, event: Event, shown: Option<&CArea>) -> Vec<u8> {
        let Event::Received { bytes } = event else { return Vec::new() };
        let room = match &self.receivers[at].in_flight {
            Some(InFlight(area)) => area.bytes(),
            None => shown.map_or(0, CArea::bytes),
        };
        let received = self.sent(bytes.min(room));
        match (&self.receivers[at].in_flight, shown) {
            // The system writes no more than there is room for.
            (Some(InFlight(area)), _) if bytes <= room => area.write(&received),
            (None, Some(area)) => area.write(&received),
            _ => {}
        }
        received
    }

    fn finish_receiver(&mut self, at: usize) -> Result<(), String> {
        let Receiver { home, id, .. } = self.receivers.remove(at);
        self.closed.push((home, id));
        Ok(())
    }

    pub(super) fn decoded(&mut self, nth: usize, consumed: u32, needed: u32) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let id = self.receivers[at].id;
        if self.home(at).decoded(id, consumed, needed, needed).is_ok() {
            self.receivers[at].consume(consumed);
        }
        Ok(())
    }

    /// Bytes that are in the host's memory already.
    pub(super) fn deliver(&mut self, nth: usize, bytes: u32) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let (id, sent) = (self.receivers[at].id, self.sent(bytes % (self.buffer_bytes + 2)));
        let Ok((accepted, _)) = self.home(at).deliver(id, &sent) else { return Ok(()) };
        let taken = sent.get(..accepted as usize).ok_or_else(|| format!("{accepted} bytes are accepted"))?;
        self.receivers[at].undecoded.extend(taken);
        self.receivers[at].is_delivering |= accepted > 0;
        Ok(())
    }

    pub(super) fn delivered(&mut self, nth: usize, consumed: u32, needed: u32) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let id = self.receivers[at].id;
        if self.home(at).delivered(id, consumed, needed).is_ok() {
            self.receivers[at].consume(consumed);
        }
        Ok(())
    }

    pub(super) fn set_policy(&mut self, nth: usize, mode: u32, counting: bool) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let mode = Mode::try_from((mode % 5) as u8).unwrap_or_default();
        let id = self.receivers[at].id;
        let is_allowed = !counting || mode != Mode::Optimistic;
        match self.home(at).set_policy(id, Policy { mode, counting, ..Policy::default() }) {
            Ok(_) if !is_allowed => Err("it counts in a mode that cannot".into()),
            // Whether it is refused depends on the state.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What is in flight is the system's, and there are no more than the configuration says.
    pub(super) fn check_in_flight(&self) -> Result<(), String> {
        let mut in_flight = vec![0; self.pools.len()];
        for receiver in &self.receivers {
            if let Some(InFlight(area)) = &receiver.in_flight {
                in_flight[receiver.home] += 1;
                if !area.is_untouched() {
                    return Err(format!("memory of {} is written while it is in flight", receiver.token));
                }
            }
        }
        match in_flight.iter().find(|&&count| count > self.in_flight_max) {
            Some(count) => Err(format!("{count} receives are in flight")),
            None => Ok(()),
        }
    }

    /// The outcomes of what a thread has in flight: before its pool is freed.
    pub(super) fn end_receives(&mut self, home: usize) -> Result<(), String> {
        while let Some(at) = self.receivers.iter().position(|one| one.home == home && one.in_flight.is_some()) {
            let token = self.receivers[at].token;
            self.report(at, Event::WouldBlock)?;
            if self.receivers.iter().any(|one| one.token == token && one.in_flight.is_some()) {
                return Err("an outcome is refused".into());
            }
        }
        Ok(())
    }
}
