//! The core behind the calls that are compared.

use crate::receiving_system::{
    After, Begin, Delivered, Facts, Notice, Reason, ReceivingConfig, ReceivingSystem, Rest, Totals,
};
use demuxbuf::pool::Budget;
use demuxbuf::receiving::{self, Receiving, ShedReason};
use demuxbuf::scheduler::TenantConfig;
use std::collections::BTreeSet;

const LEGAL: &str = "a legal call";

/// The core.
#[derive(Debug)]
pub struct CoreReceiving {
    core: Receiving<Budget>,
    config: ReceivingConfig,
    attached: BTreeSet<u32>,
    /// Receivers that were closed with a receive in flight.
    closed: BTreeSet<u32>,
    /// The host's buffers.
    leased: Vec<u32>,
    /// What a receiver has in the host's memory.
    in_place: Option<(u32, Vec<u8>)>,
}

impl CoreReceiving {
    /// The core of this memory.
    ///
    /// # Errors
    ///
    /// The configuration is not allowed.
    pub fn new(config: ReceivingConfig) -> Result<CoreReceiving, String> {
        let ReceivingConfig {
            memory_bytes,
            buffer_bytes,
            receivers_max,
            frame_grace_ns,
            blocked_ns,
            in_flight_max,
            tenants,
        } = config;
        let settings = receiving::ReceivingConfig {
            memory_bytes,
            receivers_max,
            buffer_bytes,
            frame_grace_ns,
            blocked_ns,
            in_flight_max,
        };
        let tenants = tenants.iter().flatten().map(|share| TenantConfig {
            weight: share.weight,
            guaranteed: share.guaranteed,
            cap: share.cap.unwrap_or(u32::MAX),
        });
        let tenants: Vec<TenantConfig> = tenants.collect();
        let core = Receiving::with_tenants(&settings, &tenants).map_err(|refusal| refusal.to_string())?;
        let (attached, closed) = (BTreeSet::new(), BTreeSet::new());
        Ok(CoreReceiving { core, config, attached, closed, leased: Vec::new(), in_place: None })
    }
}

impl CoreReceiving {
    /// A receiver has nothing in the host's memory any more. What was there, if it had.
    fn take_in_place(&mut self, receiver: u32) -> Option<Vec<u8>> {
        self.in_place.take_if(|(of, _)| *of == receiver).map(|(_, bytes)| bytes)
    }

    fn whole(&self, receiver: u32, bytes: u32) -> After {
        let is_look = self.core.borrowed(receiver).is_some_and(|borrowed| borrowed.is_look);
        if is_look { After::WholeLook { bytes } } else { After::Whole { bytes } }
    }

    /// Whether what is to be received is a whole, and from a look.
    fn named_apart(&self, receiver: u32, after: After) -> After {
        match after {
            After::Receive { max } if self.core.borrowed(receiver).is_some_and(|borrowed| borrowed.is_whole) => {
                self.whole(receiver, max)
            }
            after => after,
        }
    }

    /// What a tenant holds. Without tenants nothing is counted, and all that is kept is the default tenant's.
    fn held(&self, tenant: u32) -> u64 {
        if self.config.tenants.is_some() {
            return self.core.kept_bytes(tenant);
        }
        let cells = self.attached.iter().map(|&receiver| self.facts(receiver).cell_bytes);
        cells.filter(|&cell_bytes| tenant == 0 && cell_bytes > 64).map(u64::from).sum()
    }
}

fn reason(reason: ShedReason) -> Reason {
    match reason {
        ShedReason::Memory => Reason::Memory,
        ShedReason::Deadline => Reason::Deadline,
        ShedReason::Evicted => Reason::Evicted,
    }
}

fn begin(begin: receiving::Begin) -> Begin {
    match begin {
        receiving::Begin::Receive { max_bytes } => Begin::Receive { max: max_bytes },
        receiving::Begin::Look { max_bytes } => Begin::Look { max: max_bytes },
        receiving::Begin::Whole { bytes } => Begin::Whole { bytes },
        receiving::Begin::WholeLook { bytes } => Begin::WholeLook { bytes },
        receiving::Begin::Later => Begin::Later,
        receiving::Begin::Off => Begin::Off,
        receiving::Begin::Claimed => Begin::Claimed,
    }
}

fn after(after: receiving::After) -> After {
    match after {
        receiving::After::Ended => After::Ended,
        receiving::After::Receive { max_bytes } => After::Receive { max: max_bytes },
        receiving::After::ReceiveAway { bytes } => After::Away { bytes },
        receiving::After::Shed { reason: why } => After::Shed { reason: reason(why) },
    }
}

impl ReceivingSystem for CoreReceiving {
    fn attach(&mut self, receiver: u32, unknown_length: bool) {
        self.core.attach(receiver, unknown_length).expect(LEGAL);
        self.attached.insert(receiver);
    }

    fn set_reads_ahead(&mut self, receiver: u32, reads_ahead: bool) {
        self.core.set_reads_ahead(receiver, reads_ahead).expect(LEGAL);
    }

    fn set_counts(&mut self, receiver: u32, counts: bool) {
        self.core.set_counts(receiver, counts).expect(LEGAL);
    }

    fn looked(&mut self, receiver: u32, needed: u32) -> After {
        let bytes = self.core.looked(receiver, needed).expect(LEGAL);
        bytes.map_or(After::Ended, |bytes| self.whole(receiver, bytes))
    }

    fn received_away(&mut self, receiver: u32, bytes: u32) -> After {
        let after = after(self.core.received_away(receiver, bytes).expect(LEGAL));
        self.named_apart(receiver, after)
    }

    fn kernel_full(&mut self, receiver: u32) -> After {
        after(self.core.kernel_full(receiver).expect(LEGAL).expect("it waits for the kernel"))
    }

    fn peer_closed(&mut self, receiver: u32) -> After {
        after(self.core.peer_closed(receiver).expect(LEGAL))
    }

    fn set_tenant(&mut self, receiver: u32, tenant: u32) {
        self.core.set_tenant(receiver, tenant);
    }

    fn close(&mut self, receiver: u32) {
        let Facts { kept, seen, in_flight, .. } = self.facts(receiver);
        assert_eq!(self.core.close(receiver).expect(LEGAL), kept - seen, "bytes dropped by `close`");
        self.attached.remove(&receiver);
        self.take_in_place(receiver);
        if in_flight {
            self.closed.insert(receiver);
        }
    }

    fn begin(&mut self, receiver: u32) -> Begin {
        begin(self.core.begin(receiver).expect(LEGAL))
    }

    fn begin_unreported(&mut self, receiver: u32) -> Begin {
        begin(self.core.begin_unreported(receiver).expect(LEGAL))
    }

    fn received(&mut self, receiver: u32, bytes: &[u8]) {
        self.core.receive_area(receiver).expect(LEGAL)[..bytes.len()].copy_from_slice(bytes);
        self.core.received(receiver, bytes.len() as u32).expect(LEGAL);
    }

    fn deliver(&mut self, receiver: u32, bytes: &[u8]) -> Delivered {
        let delivered = self.core.deliver(receiver, bytes).expect(LEGAL);
        let (accepted, in_place) = (delivered.bytes(), matches!(delivered, receiving::Delivered::InPlace { .. }));
        if in_place {
            self.in_place = Some((receiver, bytes[..accepted as usize].to_vec()));
        }
        Delivered { accepted, in_place }
    }

    fn set_usable(&mut self, receiver: u32, usable: u32) {
        self.core.set_usable(receiver, usable).expect(LEGAL);
    }

    fn dry(&mut self, receiver: u32) -> After {
        after(self.core.dry(receiver).expect(LEGAL))
    }

    fn set_submits(&mut self, receiver: u32, submits: bool) {
        self.core.set_submits(receiver, submits).expect(LEGAL);
    }

    fn submit(&mut self, receiver: u32) {
        self.core.submit(receiver).expect(LEGAL);
    }

    fn consume(&mut self, receiver: u32, bytes: u32) {
        self.core.consume(receiver, bytes).expect(LEGAL);
    }

    fn complete(&mut self, receiver: u32) {
        self.core.complete(receiver).expect(LEGAL);
        self.closed.remove(&receiver);
    }

    fn decode(&mut self, receiver: u32) -> bool {
        self.core.decode(receiver).expect(LEGAL)
    }

    fn decoded(&mut self, receiver: u32, consumed: u32, rest: Rest) -> After {
        let rest = match rest {
            Rest::Nothing => receiving::Rest::Nothing,
            Rest::Short { needed, usable } => receiving::Rest::Short { needed_bytes: needed, usable_bytes: usable },
            Rest::Held => receiving::Rest::Held,
        };
        let left = self.take_in_place(receiver).map(|bytes| bytes[consumed as usize..].to_vec());
        let reported = match left.filter(|left| !left.is_empty()) {
            None => self.core.decoded(receiver, consumed, rest),
            Some(left) => {
                self.core.consume(receiver, consumed).expect(LEGAL);
                self.core.place(receiver, &left).expect(LEGAL);
                self.core.decoded(receiver, 0, rest)
            }
        };
        self.named_apart(receiver, after(reported.expect(LEGAL)))
    }

    fn end(&mut self, receiver: u32) {
        self.core.end(receiver).expect(LEGAL);
    }

    fn advance(&mut self, now_ns: u64) {
        self.core.advance(now_ns);
    }

    fn poll(&mut self) -> Option<Notice> {
        Some(match self.core.poll()? {
            receiving::Notice::Shed { receiver, reason: why } => Notice::Shed { receiver, reason: reason(why) },
            receiving::Notice::Trial { receiver, max_bytes } => Notice::Trial { receiver, max: max_bytes },
            receiving::Notice::Granted { receiver, max_bytes } => Notice::Granted { receiver, max: max_bytes },
            receiving::Notice::Resume { receiver } => Notice::Resume { receiver },
            receiving::Notice::TakeBack { receiver } => Notice::TakeBack { receiver },
        })
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.core.poll_timeout()
    }

    fn lease(&mut self) -> bool {
        let leased = self.core.lease();
        self.leased.extend(leased);
        leased.is_some()
    }

    fn release(&mut self) {
        self.core.release(self.leased.pop().expect("the host has a lease"));
    }

    fn data(&self, receiver: u32) -> Vec<u8> {
        if self.closed.contains(&receiver) {
            return Vec::new();
        }
        if let Some((_, bytes)) = self.in_place.as_ref().filter(|(of, _)| *of == receiver) {
            return bytes.clone();
        }
        self.core.content(receiver).expect(LEGAL).to_vec()
    }

    fn facts(&self, receiver: u32) -> Facts {
        if self.closed.contains(&receiver) {
            return Facts { closed: true, borrowed: true, in_flight: true, ..Facts::default() };
        }
        let facts = self.core.facts(receiver).expect(LEGAL);
        if facts.is_shed {
            return Facts { shed: true, ..Facts::default() };
        }
        Facts {
            kept: facts.kept_bytes,
            // Without a report it is 0 there.
            needed: facts.needed_bytes.max(1),
            usable: facts.usable_bytes.max(1),
            cell_bytes: facts.cell_bytes,
            start: facts.start_ns,
            claim_since: facts.claim_since_ns,
            credit: facts.credit_bytes.into(),
            borrowed: facts.is_borrowing,
            held_since: facts.held_since_ns,
            off: facts.is_off,
            kept_for_good: facts.is_kept_for_good,
            in_flight: facts.is_in_flight,
            mark: facts.awaited_bytes,
            full: facts.is_full,
            seen: facts.seen_bytes,
            owed: facts.owed_bytes,
            closed: false,
            shed: false,
        }
    }

    fn totals(&self) -> Totals {
        let totals = self.core.totals();
        let whole = self.config.buffer_bytes;
        let wholes = self.attached.iter().filter(|&&receiver| self.facts(receiver).cell_bytes == whole).count() as u32;
        Totals {
            free: self.core.free_buffers(),
            held: [0, 1, 2].map(|tenant| self.held(tenant)),
            cells: self.core.cells().chain([(whole, wholes)]).collect(),
            claims: totals.claims,
            evictions: totals.evicted,
            trials: totals.trials,
            grants: totals.grants,
            full_kernels: totals.full_kernels,
            shed: [totals.shed_for_memory, totals.shed_at_deadline, totals.evicted],
            longest_claim_ns: totals.longest_claim_ns,
        }
    }

    fn check_invariants(&self) -> Result<(), String> {
        self.core.check_invariants().map_err(|rule| format!("the core breaks {rule}"))
    }
}
