//! Plays operations on one subject.

use crate::subject::{Ask, Asked, Cell, Demand, Granted, Step, Subject, Taken};
use crate::{Op, Which};
use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{Idleness, ReclaimKind, TenantConfig};

/// The number of a handle that is never given out: its index lies outside every table.
const NOBODY: u64 = u64::MAX;
/// More than any receive area of the tests, and little enough to be written.
const WRITE_BYTES_MAX: u32 = 1 << 16;

/// What a subject answered. Handles are counted in the order in which they were given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Refused with this status.
    Refused(i32),
    /// Done, and nothing to tell.
    Done,
    /// There is nothing.
    Nothing,
    /// What is to be done, and how much may be received.
    Step {
        /// Mask of actions.
        actions: u32,
        /// Bytes that may be received.
        area: u32,
    },
    /// A receiver was attached; what is to be done.
    Attached {
        /// The receiver.
        receiver: usize,
        /// Mask of actions.
        actions: u32,
        /// Bytes that may be received.
        area: u32,
    },
    /// A buffer is the host's.
    Lease(usize),
    /// The host waits.
    Wait(usize),
    /// A buffer was taken with its content; what the receiver is to do now.
    Taken {
        /// The buffer.
        lease: usize,
        /// Where the content starts.
        offset: u32,
        /// Mask of actions.
        actions: u32,
        /// Bytes that may be received.
        area: u32,
    },
    /// A receiver has a buffer.
    GrantedReceiver {
        /// The receiver.
        receiver: Option<usize>,
        /// What was given at attach.
        token: u64,
        /// Mask of actions.
        actions: u32,
        /// Bytes that may be received.
        area: u32,
    },
    /// A tenant was taken in.
    Tenant(usize),
    /// Somebody is to give back.
    Demand {
        /// The buffer; nothing if it was handed over and is not picked up.
        lease: Option<usize>,
        /// What was given with the request.
        token: u64,
        /// What is to be done.
        kind: ReclaimKind,
        /// The reason.
        idleness: Idleness,
    },
    /// The host has a buffer it had waited for.
    GrantedLease {
        /// The wait that ended.
        wait: Option<usize>,
        /// What was given with the request.
        token: u64,
        /// The buffer.
        lease: usize,
    },
}

/// What a subject answered, with the bytes that it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub what: What,
    /// The bytes.
    pub data: Vec<Cell>,
}

impl Reply {
    /// Whether this, of the model, and the answer of a subject are the same, as far as the bytes can be known.
    pub fn agrees_with(&self, other: &Reply) -> bool {
        let known = |(model, subject): (&Cell, &Cell)| model.is_none() || model == subject;
        self.what == other.what && self.data.len() == other.data.len() && self.data.iter().zip(&other.data).all(known)
    }

    fn of(what: What) -> Reply {
        Reply { what, data: Vec::new() }
    }
}

impl From<Step> for Reply {
    fn from(step: Step) -> Reply {
        reply(step, |actions, area| What::Step { actions, area })
    }
}

/// The handles of one kind: the subject's numbers in the order in which they were given out, and which are in force.
#[derive(Clone, Debug, Default)]
struct Handles {
    numbers: Vec<u64>,
    live: Vec<usize>,
}

impl Handles {
    /// A lease that comes back from a receiver is the one that it was.
    fn add(&mut self, number: u64) -> usize {
        let serial = self.find(number).unwrap_or(self.numbers.len());
        if serial == self.numbers.len() {
            self.numbers.push(number);
        }
        self.live.push(serial);
        serial
    }

    fn end(&mut self, number: u64) -> Option<usize> {
        let serial = self.find(number);
        self.live.retain(|&live| Some(live) != serial);
        serial
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.numbers.iter().rposition(|&known| known == number)
    }

    fn choose(&self, which: Which) -> u64 {
        let pick = |serials: &[usize], at: u8| {
            let serial = serials.get(usize::from(at).checked_rem(serials.len())?)?;
            Some(self.numbers[*serial])
        };
        let chosen = match which {
            Which::Live(at) => pick(&self.live, at),
            Which::Dead(at) => {
                let dead: Vec<usize> = (0..self.numbers.len()).filter(|serial| !self.live.contains(serial)).collect();
                pick(&dead, at)
            }
            Which::Nobody => None,
        };
        chosen.unwrap_or(NOBODY)
    }

    fn live_numbers(&self) -> impl Iterator<Item = u64> {
        self.live.iter().map(|&serial| self.numbers[serial])
    }
}

/// One subject, the handles it gave out, and how far each receiver's peer has sent.
#[derive(Clone, Debug)]
pub struct Player<S> {
    /// What is played on.
    pub subject: S,
    receivers: Handles,
    leases: Handles,
    waits: Handles,
    tenants: Handles,
    /// The latest time that was told.
    now_ns: u64,
    /// By receiver, in the order of attachment: bytes that its peer sent.
    sent: Vec<u64>,
    tokens: u64,
}

impl<S: Subject> Player<S> {
    /// A player for a subject that nobody has used yet.
    pub fn new(subject: S) -> Player<S> {
        Player {
            subject,
            receivers: Handles::default(),
            leases: Handles::default(),
            waits: Handles::default(),
            tenants: Handles::default(),
            now_ns: 0,
            sent: Vec::new(),
            tokens: 0,
        }
    }

    /// Plays one operation.
    pub fn play(&mut self, op: Op) -> Reply {
        self.try_play(op).unwrap_or_else(|status| Reply::of(What::Refused(status)))
    }

    /// The subject's handles of its receivers, oldest first.
    pub fn receivers(&self) -> Vec<u64> {
        self.receivers.live_numbers().collect()
    }

    /// The subject's handles of the host's own buffers, oldest first.
    pub fn leases(&self) -> Vec<u64> {
        self.leases.live_numbers().collect()
    }

    /// The subject's handle of a buffer, by the number that answers have for it.
    pub fn lease_number(&self, serial: usize) -> u64 {
        self.leases.numbers[serial]
    }

    /// The subject's handles of the host's own waits, oldest first.
    pub fn waits(&self) -> Vec<u64> {
        self.waits.live_numbers().collect()
    }

    /// The subject's handles of all tenants there ever were, oldest first.
    pub fn tenants(&self) -> Vec<u64> {
        self.tenants.numbers.clone()
    }

    fn try_play(&mut self, op: Op) -> Result<Reply, i32> {
        match op {
            Op::Attach { class, bytes } => {
                let (token, bytes) = (self.next_token(), stream(self.sent.len(), 0, bytes.into()));
                let id = self.subject.attach(class, token, &bytes)?;
                self.attached(id, bytes.len() as u64)
            }
            Op::Adopt { class, lease, offset, level } => {
                let (token, lease) = (self.next_token(), self.leases.choose(lease));
                let id = self.subject.adopt(class, token, Taken { lease, offset, level })?;
                self.leases.end(lease);
                self.attached(id, 0)
            }
            Op::Report { receiver, event } => self.report(self.receivers.choose(receiver), event),
            Op::Obey { receiver, choice, amount } => {
                let id = self.receivers.choose(receiver);
                match self.subject.describe(id)?.facts.outcome(choice, amount) {
                    Some(event) => self.report(id, event),
                    None => Ok(Reply::of(What::Nothing)),
                }
            }
            Op::Decoded { receiver, consumed, need_more } => {
                self.subject.decoded(self.receivers.choose(receiver), consumed, need_more).map(Reply::from)
            }
            Op::Take { receiver } => self.take(self.receivers.choose(receiver)),
            Op::Grow { receiver, size } => self.subject.grow(self.receivers.choose(receiver), size).map(Reply::from),
            Op::SetTenant { receiver, tenant } => {
                let tenant = tenant.map(|tenant| self.tenants.choose(tenant));
                self.subject.set_tenant(self.receivers.choose(receiver), tenant).map(|()| Reply::of(What::Done))
            }
            host => self.try_as_host(host),
        }
    }

    /// What is not about a receiver.
    fn try_as_host(&mut self, op: Op) -> Result<Reply, i32> {
        let what = match op {
            Op::Request { class, size, tenant } => {
                let tenant = tenant.map(|tenant| self.tenants.choose(tenant));
                let ask = Ask { class, size, tenant, token: self.next_token() };
                match self.subject.request(ask)? {
                    Asked::Lease(lease) => What::Lease(self.leases.add(lease)),
                    Asked::Wait(wait) => What::Wait(self.waits.add(wait)),
                }
            }
            Op::Release { lease } => {
                let lease = self.leases.choose(lease);
                self.subject.release(lease)?;
                self.leases.end(lease);
                What::Done
            }
            Op::Cancel { wait } => {
                let wait = self.waits.choose(wait);
                self.subject.cancel(wait)?;
                self.waits.end(wait);
                What::Done
            }
            Op::PollGrant => return Ok(self.poll_grant()),
            Op::Progress { lease, bytes } => {
                self.subject.progress(self.leases.choose(lease), bytes)?;
                What::Done
            }
            Op::PollReclaim => match self.subject.poll_reclaim() {
                None => What::Nothing,
                Some(Demand { lease, token, kind, idleness }) => {
                    What::Demand { lease: self.leases.find(lease), token, kind, idleness }
                }
            },
            Op::CreateTenant { weight, guaranteed, cap } => {
                let tenant = self.subject.create_tenant(TenantConfig { weight, guaranteed, cap })?;
                What::Tenant(self.tenants.add(tenant))
            }
            Op::RemoveTenant { tenant } => {
                let tenant = self.tenants.choose(tenant);
                self.subject.remove_tenant(tenant)?;
                self.tenants.end(tenant);
                What::Done
            }
            Op::Tick { now_ns } => self.tick(now_ns),
            Op::Later { ns } => self.tick(self.now_ns.saturating_add(ns)),
            Op::GiveBackPages => {
                self.subject.give_back_pages();
                What::Done
            }
            _ => unreachable!("the others are a receiver's"),
        };
        Ok(Reply::of(what))
    }

    fn tick(&mut self, now_ns: u64) -> What {
        self.now_ns = self.now_ns.max(now_ns);
        self.subject.tick(now_ns);
        What::Done
    }

    fn next_token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn attached(&mut self, id: u64, sent: u64) -> Result<Reply, i32> {
        let receiver = self.receivers.add(id);
        self.sent.push(sent);
        let step = self.subject.pending(id)?;
        Ok(reply(step, |actions, area| What::Attached { receiver, actions, area }))
    }

    fn report(&mut self, id: u64, event: Event) -> Result<Reply, i32> {
        let serial = self.receivers.find(id);
        // What is submitted is written by the system before its outcome is known.
        let arriving = match event {
            Event::Received { bytes } => bytes.min(WRITE_BYTES_MAX),
            Event::Done { actions } if actions & Action::Recv as u32 != 0 => WRITE_BYTES_MAX,
            _ => 0,
        };
        if let Some(serial) = serial.filter(|_| arriving > 0) {
            self.subject.write(id, &stream(serial, self.sent[serial], arriving));
        }
        let step = self.subject.report(id, event)?;
        if let (Event::Received { bytes }, Some(serial)) = (event, serial) {
            self.sent[serial] += u64::from(bytes);
        }
        if step.actions & Action::Finished as u32 != 0 {
            self.receivers.end(id);
        }
        Ok(Reply::from(step))
    }

    fn take(&mut self, id: u64) -> Result<Reply, i32> {
        let Taken { lease, offset, level } = self.subject.take(id)?;
        let serial = self.leases.add(lease);
        let content = self.subject.content(lease)?;
        let Step { actions, area, .. } = self.subject.pending(id)?;
        let content = content.into_iter().skip(offset as usize).take(level as usize).collect();
        Ok(Reply { what: What::Taken { lease: serial, offset, actions, area }, data: content })
    }

    fn poll_grant(&mut self) -> Reply {
        match self.subject.poll_grant() {
            None => Reply::of(What::Nothing),
            Some(Granted::Lease { wait, token, lease }) => {
                let (wait, lease) = (self.waits.end(wait), self.leases.add(lease));
                Reply::of(What::GrantedLease { wait, token, lease })
            }
            Some(Granted::Receiver { id, token, step }) => {
                let receiver = self.receivers.find(id);
                reply(step, |actions, area| What::GrantedReceiver { receiver, token, actions, area })
            }
        }
    }
}

fn reply(step: Step, what: impl FnOnce(u32, u32) -> What) -> Reply {
    Reply { what: what(step.actions, step.area), data: step.data }
}

/// What the peer of a receiver sends: bytes that tell where they belong, and whose they are.
fn stream(receiver: usize, from: u64, bytes: u32) -> Vec<u8> {
    (from..from + u64::from(bytes)).map(|at| (at as u8).wrapping_add((receiver as u8).wrapping_mul(89))).collect()
}
