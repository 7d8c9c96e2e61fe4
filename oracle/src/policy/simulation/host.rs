//! The host's event loop.

use super::{Happening, ITERATION_NS, ITERATION_NS_MIN, RECEIVES_MAX, ROUND_TRIP_NS, Simulation};
use crate::policy::MS;
use crate::receiving_system::{After, Begin, Notice, Reason, ReceivingSystem};

/// The host.
impl<S: ReceivingSystem> Simulation<S> {
    pub(super) fn iterate(&mut self) {
        self.iteration = None;
        self.system.advance(self.now);
        self.pool_ns += (self.now - self.advanced_at).min(self.config.frame_grace_ns / 8);
        self.advanced_at = self.now;
        for client in std::mem::take(&mut self.delayed) {
            self.receive_on(client);
        }
        for client in std::mem::take(&mut self.unblocked) {
            self.decode_held(client);
        }
        let mut ready = std::mem::take(&mut self.ready);
        for last in (1..ready.len()).rev() {
            ready.swap(last, self.random.below(last as u64 + 1) as usize);
        }
        for &client in &ready {
            self.clients[client].is_ready = false;
        }
        for group in ready.chunks(if self.settings.is_nesting { 3 } else { 1 }) {
            self.serve_group(group);
        }
        self.drain();
        if let Some(at) = self.system.poll_timeout() {
            self.schedule(at.max(self.now + ITERATION_NS_MIN));
        }
    }

    /// Receives for all of them before the decoder runs, perhaps leases, then goes on with each.
    pub(super) fn serve_group(&mut self, group: &[usize]) {
        let mut begun: Vec<usize> = group.iter().copied().filter(|&client| self.begin(client).is_some()).collect();
        if self.settings.is_nesting {
            self.lease_or_release();
            let last = begun.len().max(1) as u64;
            begun.rotate_left(self.random.below(last) as usize);
        }
        for &client in &begun {
            self.decode_on(client);
        }
        group.iter().for_each(|&client| self.receive_on(client));
    }

    pub(super) fn lease_or_release(&mut self) {
        self.calls += 1;
        if self.random.below(2) == 0 {
            self.leases += u32::from(self.system.lease());
        } else if self.leases > 0 {
            self.leases -= 1;
            self.system.release();
        }
    }

    pub(super) fn drain(&mut self) {
        while let Some(notice) = self.system.poll() {
            self.calls += 1;
            match notice {
                Notice::TakeBack { .. } => unreachable!("nothing is submitted"),
                Notice::Shed { receiver, reason } => self.shed(receiver as usize, reason),
                Notice::Resume { receiver } => self.receive_on(receiver as usize),
                Notice::Granted { receiver, max } | Notice::Trial { receiver, max } => {
                    let client = receiver as usize;
                    self.receive(client, After::Receive { max });
                    self.receive_on(client);
                }
            }
        }
    }

    /// Receives while there is something to receive and the answer allows it.
    pub(super) fn receive_on(&mut self, client: usize) {
        for _ in 0..RECEIVES_MAX {
            if self.begin(client).is_none() {
                return self.set_mark(client);
            }
            self.decode_on(client);
        }
        self.note_ready(client);
    }

    /// Begins, and receives; none if there is nothing to decode.
    pub(super) fn begin(&mut self, client: usize) -> Option<()> {
        let state = &self.clients[client];
        let has_nothing_to_do = state.kernel == 0 || state.is_held || !state.is_attached;
        // One that was evicted in this iteration has its notice before long.
        if has_nothing_to_do || self.system.facts(client as u32).shed {
            return None;
        }
        self.calls += 1;
        match self.system.begin(client as u32) {
            Begin::Receive { max } => {
                self.fill(client, max);
                Some(())
            }
            Begin::Look { max } => {
                let needed = self.clients[client].look(max.min(self.clients[client].kernel));
                self.calls += 1;
                match self.system.looked(client as u32, needed) {
                    After::Whole { bytes } => self.receive_whole(client, bytes, false),
                    After::WholeLook { bytes } => self.receive_whole(client, bytes, true),
                    after => unreachable!("{after:?}"),
                }
            }
            Begin::Whole { bytes } => self.receive_whole(client, bytes, false),
            Begin::WholeLook { bytes } => self.receive_whole(client, bytes, true),
            Begin::Later => {
                self.delayed.push(client);
                self.schedule(self.now + ITERATION_NS);
                None
            }
            Begin::Off | Begin::Claimed => None,
        }
    }

    /// Receives all of this, or nothing, or looks at it; none if there is nothing to decode.
    pub(super) fn receive_whole(&mut self, client: usize, bytes: u32, is_look: bool) -> Option<()> {
        let state = &mut self.clients[client];
        if state.kernel >= bytes && is_look {
            state.kept += bytes;
            state.seen = bytes;
            self.calls += 1;
            self.system.received(client as u32, &self.zeros[..bytes as usize]);
            return Some(());
        }
        if state.kernel >= bytes {
            self.fill(client, bytes);
            return Some(());
        }
        self.calls += 1;
        if !(state.mark == bytes && self.is_full(client)) {
            let after = self.system.dry(client as u32);
            self.follow(client, after);
            return None;
        }
        // It was reported all the same.
        let after = self.system.kernel_full(client as u32);
        if after == After::Ended {
            return self.begin(client);
        }
        self.follow(client, after);
        None
    }

    /// Receives what the kernel has, at most this much, and decodes; again while the borrow goes on.
    pub(super) fn receive(&mut self, client: usize, first: After) {
        let mut next = Some(first);
        while let Some(receive) = next {
            next = match receive {
                After::Whole { bytes } => self.receive_whole(client, bytes, false).and_then(|()| self.decode(client)),
                After::WholeLook { bytes } => {
                    self.receive_whole(client, bytes, true).and_then(|()| self.decode(client))
                }
                After::Away { bytes } => {
                    self.empty_kernel(client, bytes);
                    let after = self.system.received_away(client as u32, bytes);
                    self.follow(client, after)
                }
                After::Receive { max } if self.clients[client].kernel > 0 => {
                    self.fill(client, max);
                    self.decode(client)
                }
                _ => {
                    self.calls += 1;
                    let after = self.system.dry(client as u32);
                    self.follow(client, after)
                }
            };
        }
    }

    /// Decodes, and goes on as long as the borrow does.
    pub(super) fn decode_on(&mut self, client: usize) {
        if let Some(next) = self.decode(client) {
            self.receive(client, next);
        }
    }

    pub(super) fn fill(&mut self, client: usize, max: u32) {
        let bytes = max.min(self.clients[client].kernel);
        self.empty_kernel(client, bytes);
        self.clients[client].kept += bytes;
        self.system.received(client as u32, &self.zeros[..bytes as usize]);
    }

    /// A receive.
    pub(super) fn empty_kernel(&mut self, client: usize, bytes: u32) {
        self.calls += 1;
        self.clients[client].kernel -= bytes;
        if self.clients[client].pending > 0 {
            self.plan(ROUND_TRIP_NS, client, Happening::Refill);
        }
    }

    /// Runs the decoder and reports; the next receive, if the borrow goes on.
    pub(super) fn decode(&mut self, client: usize) -> Option<After> {
        self.calls += 1;
        let decoded = self.clients[client].decode();
        self.clients[client].is_held = decoded.holds;
        if decoded.holds && self.clients[client].kind.is_some() {
            self.plan(200 * MS, client, Happening::Unblock);
        }
        let rest = self.clients[client].rest();
        let after = self.system.decoded(client as u32, decoded.consumed, rest);
        self.clients[client].leave_seen();
        self.report_usable(client);
        if decoded.is_request_done {
            self.answer(client);
        }
        self.follow(client, after)
    }

    /// After a report that leaves nothing of a payload that is decoded in pieces.
    fn report_usable(&mut self, client: usize) {
        let state = &self.clients[client];
        if let Some(usable) = state.usable().filter(|_| !self.system.facts(client as u32).shed) {
            self.system.set_usable(client as u32, usable);
        }
    }

    pub(super) fn follow(&mut self, client: usize, after: After) -> Option<After> {
        match after {
            After::Ended => None,
            After::Receive { .. } | After::Whole { .. } | After::WholeLook { .. } | After::Away { .. } => Some(after),
            After::Shed { reason } => {
                self.shed(client, reason);
                None
            }
        }
    }

    pub(super) fn decode_held(&mut self, client: usize) {
        if !self.clients[client].is_held {
            return;
        }
        if self.clients[client].kept == 0 {
            // Its frame is in the kernel.
            self.clients[client].is_held = false;
            return self.receive_on(client);
        }
        self.calls += 1;
        if !self.system.decode(client as u32) {
            self.unblocked.push(client);
            return self.schedule(self.now + ITERATION_NS);
        }
        self.decode_on(client);
        self.receive_on(client);
    }

    pub(super) fn answer(&mut self, client: usize) {
        let (kind, request) = (self.clients[client].kind, self.clients[client].request.take());
        if let (Some(kind), Some(request)) = (kind, request) {
            self.answered[kind] += 1;
            self.longest[kind] = self.longest[kind].max(self.now - request + ROUND_TRIP_NS / 2);
        }
        self.plan(ROUND_TRIP_NS / 2 + 10 * MS, client, Happening::Request);
    }

    pub(super) fn shed(&mut self, client: usize, reason: Reason) {
        let config = self.config;
        let state = &mut self.clients[client];
        match state.kind {
            Some(kind) => {
                self.honest_shed += 1;
                if state.is_in_time(self.now, |bytes| config.allowance_ns(bytes)) {
                    *self.shed_in_time.entry((kind, reason)).or_insert(0) += 1;
                }
            }
            None => self.attackers_shed += 1,
        }
        state.reset();
        let is_honest = state.kind.is_some();
        let comes_back = state.reconnects;
        self.calls += 1;
        self.system.close(client as u32);
        if comes_back {
            let after = if is_honest { ROUND_TRIP_NS } else { ROUND_TRIP_NS * 3 / 2 };
            self.plan(after, client, Happening::Request);
        }
    }
}
