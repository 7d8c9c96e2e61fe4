//! Calls as values, so that one list of them fits every system, how legal ones are drawn, and what comes before and
//! after these.

use crate::model::ModelReceiving;
use crate::receiving_system::{After, Begin, Delivered, Notice, ReceivingConfig, ReceivingSystem, Rest};

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ReceivingOp {
    Attach { receiver: u32, unknown_length: bool },
    SetReadsAhead { receiver: u32, reads_ahead: bool },
    SetCounts { receiver: u32, counts: bool },
    Looked { receiver: u32, needed: u32 },
    ReceivedAway { receiver: u32, bytes: u32 },
    KernelFull { receiver: u32 },
    PeerClosed { receiver: u32 },
    SetTenant { receiver: u32, tenant: u32 },
    Close { receiver: u32 },
    Begin { receiver: u32 },
    BeginUnreported { receiver: u32 },
    Received { receiver: u32, bytes: u32 },
    Deliver { receiver: u32, bytes: u32 },
    Dry { receiver: u32 },
    SetSubmits { receiver: u32, submits: bool },
    Submit { receiver: u32 },
    Consume { receiver: u32, bytes: u32 },
    Complete { receiver: u32 },
    Decode { receiver: u32 },
    Decoded { receiver: u32, consumed: u32, rest: Rest },
    SetUsable { receiver: u32, usable: u32 },
    End { receiver: u32 },
    Advance { now_ns: u64 },
    Poll,
    Lease,
    Release,
}

impl ReceivingOp {
    /// The receiver that the call names.
    pub fn receiver(self) -> Option<u32> {
        match self {
            ReceivingOp::Attach { receiver, .. }
            | ReceivingOp::SetReadsAhead { receiver, .. }
            | ReceivingOp::SetCounts { receiver, .. }
            | ReceivingOp::Looked { receiver, .. }
            | ReceivingOp::ReceivedAway { receiver, .. }
            | ReceivingOp::KernelFull { receiver }
            | ReceivingOp::PeerClosed { receiver }
            | ReceivingOp::SetTenant { receiver, .. }
            | ReceivingOp::Close { receiver }
            | ReceivingOp::Begin { receiver }
            | ReceivingOp::BeginUnreported { receiver }
            | ReceivingOp::Received { receiver, .. }
            | ReceivingOp::Deliver { receiver, .. }
            | ReceivingOp::Dry { receiver }
            | ReceivingOp::SetSubmits { receiver, .. }
            | ReceivingOp::Submit { receiver }
            | ReceivingOp::Consume { receiver, .. }
            | ReceivingOp::Complete { receiver }
            | ReceivingOp::Decode { receiver }
            | ReceivingOp::Decoded { receiver, .. }
            | ReceivingOp::SetUsable { receiver, .. }
            | ReceivingOp::End { receiver } => Some(receiver),
            ReceivingOp::Advance { .. } | ReceivingOp::Poll | ReceivingOp::Lease | ReceivingOp::Release => None,
        }
    }

    /// How many bytes a receive brings, if the call is one.
    pub fn brings(self) -> Option<(u32, u32)> {
        match self {
            ReceivingOp::Received { receiver, bytes } | ReceivingOp::Deliver { receiver, bytes } => {
                Some((receiver, bytes))
            }
            _ => None,
        }
    }

    /// Makes the call; `bytes` are what a receive brings.
    pub fn play(self, system: &mut impl ReceivingSystem, bytes: &[u8]) -> Answer {
        match self {
            ReceivingOp::Attach { receiver, unknown_length } => system.attach(receiver, unknown_length),
            ReceivingOp::SetReadsAhead { receiver, reads_ahead } => system.set_reads_ahead(receiver, reads_ahead),
            ReceivingOp::SetCounts { receiver, counts } => system.set_counts(receiver, counts),
            ReceivingOp::Looked { receiver, needed } => return Answer::After(system.looked(receiver, needed)),
            ReceivingOp::ReceivedAway { receiver, bytes } => {
                return Answer::After(system.received_away(receiver, bytes));
            }
            ReceivingOp::KernelFull { receiver } => return Answer::After(system.kernel_full(receiver)),
            ReceivingOp::PeerClosed { receiver } => return Answer::After(system.peer_closed(receiver)),
            ReceivingOp::SetTenant { receiver, tenant } => system.set_tenant(receiver, tenant),
            ReceivingOp::Close { receiver } => system.close(receiver),
            ReceivingOp::Begin { receiver } => return Answer::Begin(system.begin(receiver)),
            ReceivingOp::BeginUnreported { receiver } => return Answer::Begin(system.begin_unreported(receiver)),
            ReceivingOp::Received { receiver, .. } => system.received(receiver, bytes),
            ReceivingOp::Deliver { receiver, .. } => return Answer::Delivered(system.deliver(receiver, bytes)),
            ReceivingOp::Dry { receiver } => return Answer::After(system.dry(receiver)),
            ReceivingOp::SetSubmits { receiver, submits } => system.set_submits(receiver, submits),
            ReceivingOp::Submit { receiver } => system.submit(receiver),
            ReceivingOp::Consume { receiver, bytes } => system.consume(receiver, bytes),
            ReceivingOp::Complete { receiver } => system.complete(receiver),
            ReceivingOp::Decode { receiver } => return Answer::Done(system.decode(receiver)),
            ReceivingOp::Decoded { receiver, consumed, rest } => {
                return Answer::After(system.decoded(receiver, consumed, rest));
            }
            ReceivingOp::SetUsable { receiver, usable } => system.set_usable(receiver, usable),
            ReceivingOp::End { receiver } => system.end(receiver),
            ReceivingOp::Advance { now_ns } => system.advance(now_ns),
            ReceivingOp::Poll => return Answer::Notice(system.poll()),
            ReceivingOp::Lease => return Answer::Done(system.lease()),
            ReceivingOp::Release => system.release(),
        }
        Answer::Nothing
    }
}

/// What a call answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Answer {
    Nothing,
    Begin(Begin),
    After(After),
    Done(bool),
    Delivered(Delivered),
    Notice(Option<Notice>),
}

/// What kind of call is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawnKind {
    /// A receiver is attached.
    Attach,
    /// A layer that reads ahead comes or goes.
    ReadAhead,
    /// Its host can leave a partial frame in the kernel, or ceases to.
    Count,
    /// The kernel is full, or the peer has closed.
    Kernel,
    /// A receiver comes to another tenant.
    Tenant,
    /// A receiver is closed.
    Close,
    /// What the receiver is about to do: it receives, decodes or begins.
    Obey,
    /// As `Obey`, but what is received is delivered.
    Deliver,
    /// A receiver begins unreported.
    Guess,
    /// A receive that brings nothing.
    Dry,
    /// A receive is submitted, or something happens while it is in flight.
    Submit,
    /// What the decoder could use, where nothing is kept.
    Use,
    /// The end of the stream.
    End,
    /// Time passes.
    Advance,
    /// A poll.
    Poll,
    /// The host leases or releases a buffer.
    Lease,
}

/// A call that is not bound to a state: numbers that choose among what is legal.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// Which call.
    pub kind: DrawnKind,
    /// Which receiver.
    pub receiver: u8,
    /// How much is received, consumed, or how far time goes.
    pub amount: u16,
    /// What is left, of whatever kind.
    pub rest: u16,
}

impl Drawn {
    /// The legal call that this is in the state of the model, whose clock is at `now_ns`; none if there is no legal
    /// one.
    pub fn resolve(self, model: &ModelReceiving, now_ns: u64) -> Option<ReceivingOp> {
        let receivers = model.attached();
        // Mostly a receiver that borrows goes on, so that borrows end.
        let borrows = |receiver| model.facts(receiver).borrowed && !model.facts(receiver).in_flight;
        let borrowing = receivers.iter().copied().filter(|&receiver| borrows(receiver));
        let is_about_borrows = matches!(self.kind, DrawnKind::Obey | DrawnKind::Deliver | DrawnKind::Submit);
        let goes_on = self.rest % 4 != 0 && is_about_borrows;
        let borrowing: Vec<u32> = borrowing.filter(|_| goes_on).collect();
        let among = if borrowing.is_empty() { &receivers } else { &borrowing };
        let receiver = among.get(usize::from(self.receiver) % among.len().max(1)).copied();
        match self.kind {
            DrawnKind::Attach => {
                let receiver = u32::from(self.receiver) % model.receivers_max();
                let unknown_length = self.amount % 8 == 0;
                model.may_attach(receiver).then_some(ReceivingOp::Attach { receiver, unknown_length })
            }
            DrawnKind::Tenant => {
                let receiver = receiver.filter(|&receiver| model.legal(receiver).close)?;
                let tenant = if model.has_tenants() { u32::from(self.amount % 3) } else { 0 };
                Some(ReceivingOp::SetTenant { receiver, tenant })
            }
            DrawnKind::Close => {
                let receiver = receiver.filter(|&receiver| model.legal(receiver).close)?;
                Some(ReceivingOp::Close { receiver })
            }
            DrawnKind::Submit => self.submit(model, receiver?),
            DrawnKind::ReadAhead => {
                let receiver = receiver.filter(|&receiver| model.legal(receiver).close)?;
                let reads_ahead = self.amount % 2 == 0 && model.legal(receiver).reads_ahead;
                Some(ReceivingOp::SetReadsAhead { receiver, reads_ahead })
            }
            DrawnKind::Count => {
                let counts = model.legal(receiver?).set_counts?;
                Some(ReceivingOp::SetCounts { receiver: receiver?, counts })
            }
            DrawnKind::Kernel => self.kernel(model, receiver?),
            DrawnKind::Obey => self.obey(model, receiver?),
            DrawnKind::Deliver if receiver.is_some_and(|receiver| model.legal(receiver).deliver) => {
                let bytes = share(self.amount, model.buffer_bytes()).max(1);
                Some(ReceivingOp::Deliver { receiver: receiver?, bytes })
            }
            DrawnKind::Deliver => self.obey(model, receiver?),
            DrawnKind::Guess => {
                let receiver = receiver.filter(|&receiver| model.legal(receiver).begin)?;
                Some(ReceivingOp::BeginUnreported { receiver })
            }
            DrawnKind::Dry => {
                let receiver = receiver
                    .filter(|&receiver| model.legal(receiver).receive_max > 0 || model.legal(receiver).looked)?;
                Some(ReceivingOp::Dry { receiver })
            }
            DrawnKind::Use => {
                let receiver = receiver.filter(|&receiver| model.legal(receiver).set_usable)?;
                let usable = share(self.amount, model.buffer_bytes() + 1).max(1);
                Some(ReceivingOp::SetUsable { receiver, usable })
            }
            DrawnKind::End => {
                let receiver = receiver.filter(|&receiver| model.legal(receiver).end)?;
                Some(ReceivingOp::End { receiver })
            }
            DrawnKind::Advance => Some(ReceivingOp::Advance { now_ns: self.later(model.step_ns_max(), now_ns) }),
            DrawnKind::Poll => Some(ReceivingOp::Poll),
            DrawnKind::Lease if self.amount % 2 == 0 => Some(ReceivingOp::Lease),
            DrawnKind::Lease => (model.leases() > 0).then_some(ReceivingOp::Release),
        }
    }

    fn later(self, step_ns_max: u64, now_ns: u64) -> u64 {
        match self.amount % 8 {
            0 => now_ns,
            1 => now_ns.saturating_sub(step_ns_max / 2),
            2 => now_ns + 3 * step_ns_max,
            3..6 => now_ns + step_ns_max,
            _ => now_ns + step_ns_max * u64::from(self.rest % 16) / 16,
        }
    }

    /// Of a receiver that waits under a mark or looks, if there is one; seldom the end of what its peer sends.
    fn kernel(self, model: &ModelReceiving, receiver: u32) -> Option<ReceivingOp> {
        if self.amount % 8 == 0 {
            return model.legal(receiver).peer_closed.then_some(ReceivingOp::PeerClosed { receiver });
        }
        let all: Vec<u32> = model.attached().into_iter().filter(|&other| model.legal(other).kernel_full).collect();
        let receiver = *all.get(usize::from(self.receiver) % all.len().max(1))?;
        Some(ReceivingOp::KernelFull { receiver })
    }

    fn submit(self, model: &ModelReceiving, receiver: u32) -> Option<ReceivingOp> {
        let legal = model.legal(receiver);
        let bytes = share(self.amount, legal.consume_max);
        if legal.submit {
            Some(ReceivingOp::Submit { receiver })
        } else if legal.complete {
            Some(ReceivingOp::Complete { receiver })
        } else if bytes > 0 {
            Some(ReceivingOp::Consume { receiver, bytes })
        } else {
            legal.set_submits.then_some(ReceivingOp::SetSubmits { receiver, submits: self.rest % 4 < 3 })
        }
    }

    fn obey(self, model: &ModelReceiving, receiver: u32) -> Option<ReceivingOp> {
        let legal = model.legal(receiver);
        if legal.complete {
            return Some(ReceivingOp::Complete { receiver });
        }
        if legal.looked {
            let needed = share(self.amount, model.buffer_bytes() + 1).max(1);
            return Some(ReceivingOp::Looked { receiver, needed });
        }
        if legal.away_max > 0 {
            let bytes = share(self.amount, legal.away_max).max(1);
            return Some(ReceivingOp::ReceivedAway { receiver, bytes });
        }
        if legal.whole_look || (legal.whole && self.rest % 4 > 0) {
            let is_there = self.rest % 4 > 1;
            let whole = ReceivingOp::Received { receiver, bytes: legal.receive_max };
            return Some(if is_there { whole } else { ReceivingOp::Dry { receiver } });
        }
        if legal.receive_max > 0 {
            let bytes = share(self.amount, legal.receive_max).max(1);
            return Some(ReceivingOp::Received { receiver, bytes });
        }
        if legal.decoded {
            return Some(self.report(model, receiver, legal.ended));
        }
        // A receiver that is shed is closed, and one that has ended before long, so that others come.
        let is_shed = !legal.end && !legal.ended;
        if is_shed || (legal.ended && (!legal.decode || self.rest % 4 == 0)) {
            return Some(ReceivingOp::Close { receiver });
        }
        if legal.decode {
            return Some(ReceivingOp::Decode { receiver });
        }
        legal.begin.then_some(ReceivingOp::Begin { receiver })
    }

    fn report(self, model: &ModelReceiving, receiver: u32, ended: bool) -> ReceivingOp {
        let there = model.facts(receiver).kept;
        let consumed = share(self.amount, there);
        let left = there - consumed;
        let room = model.buffer_bytes() - left;
        let rest = if left == 0 {
            Rest::Nothing
        } else if ended || room == 0 || self.rest % 8 == 0 {
            Rest::Held
        } else {
            // Often up to the size of a cell.
            let needed = match self.rest % 3 {
                0 => (64 - left % 64).min(room),
                _ => share(self.rest / 8, room).max(1),
            };
            let usable = if self.rest % 8 == 1 { room } else { needed };
            Rest::Short { needed, usable }
        };
        ReceivingOp::Decoded { receiver, consumed, rest }
    }
}

/// Of `all`: often all or nothing, else any part, or a few.
fn share(amount: u16, all: u32) -> u32 {
    let part = u32::from(amount >> 3);
    match amount % 8 {
        0 | 1 => all,
        2 | 3 => 0,
        4 | 5 => part.min(all),
        _ => ((u64::from(all) * u64::from(part)) >> 13) as u32,
    }
}

/// What comes before random calls: time begins, all receivers are attached, and the host leases all but this number
/// of buffers.
pub fn opening(config: ReceivingConfig, free: u32) -> Vec<ReceivingOp> {
    let buffers = ModelReceiving::new(config).expect("an allowed configuration").usable_buffers();
    let attach = |receiver| ReceivingOp::Attach { receiver, unknown_length: receiver % 8 == 7 };
    let attached = (0..config.receivers_max).map(attach);
    let tenant = |receiver| ReceivingOp::SetTenant { receiver, tenant: receiver % 3 };
    let tenants = (0..config.receivers_max).filter(|_| config.tenants.is_some()).map(tenant);
    let leased = (free..buffers).map(|_| ReceivingOp::Lease);
    let submits = (0..config.receivers_max).filter(|receiver| receiver % 4 >= 2);
    let submits = submits.map(|receiver| ReceivingOp::SetSubmits { receiver, submits: true });
    let counts = (0..config.receivers_max).filter(|receiver| receiver % 8 < 7 && receiver % 3 != 1);
    let counts = counts.map(|receiver| ReceivingOp::SetCounts { receiver, counts: true });
    let first = [ReceivingOp::Advance { now_ns: 0 }].into_iter().chain(attached);
    first.chain(tenants).chain(submits).chain(counts).chain(leased).collect()
}

/// What comes after them: the host releases all, and serves what is noticed until there is nothing. Peers send nothing.
///
/// # Errors
///
/// Those of `play`.
pub fn wind_up(
    leases: u32,
    now_ns: u64,
    mut play: impl FnMut(ReceivingOp) -> Result<Answer, String>,
) -> Result<(), String> {
    play(ReceivingOp::Advance { now_ns })?;
    for _ in 0..leases {
        play(ReceivingOp::Release)?;
    }
    loop {
        match play(ReceivingOp::Poll)? {
            Answer::Notice(Some(Notice::Shed { receiver, .. })) => play(ReceivingOp::Close { receiver })?,
            Answer::Notice(Some(
                Notice::Trial { receiver, .. } | Notice::Granted { receiver, .. } | Notice::TakeBack { receiver },
            )) => play(ReceivingOp::Dry { receiver })?,
            Answer::Notice(Some(Notice::Resume { .. })) => Answer::Nothing,
            _ => return Ok(()),
        };
    }
}
