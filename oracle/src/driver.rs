//! Plays operations on one system.

use crate::system::{Ask, Asked, Attach, Cell, Demand, Notice, Step, System, Taken};
use crate::{Facts, HandleRef, Op};
use demuxbuf::connection::{Action, Event};
use demuxbuf::scheduler::{LeaseInfo, ReclaimKind, TenantConfig};

/// The number of a handle that is never given out: its index lies outside every table.
const DEFAULT_TENANT: u64 = u64::MAX;
/// More than any receive area of the tests, and little enough to be written.
const WRITE_BYTES_MAX: u32 = 1 << 16;

/// What a system answered. Handles are counted in the order in which they were given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Refused with this status.
    Refused(i32),
    /// Done, without a further answer.
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
    /// This number of bytes was accepted; what is to be done.
    Delivered {
        /// How many.
        accepted: u32,
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
    /// A connection can be attached.
    Attachable,
    /// A pool that takes no new receivers has nothing left.
    Drained,
    /// The host has held a buffer for too long.
    Overdue {
        /// The buffer.
        lease: Option<usize>,
        /// What was given with the request.
        token: u64,
    },
    /// A tenant was taken in.
    Tenant(usize),
    /// A holder is to return its buffer.
    Demand {
        /// The buffer; nothing if it was assigned and is not picked up.
        lease: Option<usize>,
        /// What was given with the request.
        token: u64,
        /// What is to be done.
        kind: ReclaimKind,
        /// The reason.
        lease_info: LeaseInfo,
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

/// What a system answered, with the bytes that it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// The mark that is to be set; 0 if none is shown.
    pub mark: u32,
    /// The bytes.
    pub data: Vec<Cell>,
}

impl Reply {
    /// Whether this, of the model, and the answer of a system are the same, as far as the bytes can be known.
    pub fn agrees_with(&self, other: &Reply) -> bool {
        let known = |(model, system): (&Cell, &Cell)| model.is_none() || model == system;
        (&self.response, self.mark) == (&other.response, other.mark)
            && self.data.len() == other.data.len()
            && self.data.iter().zip(&other.data).all(known)
    }

    fn of(response: Response) -> Reply {
        Reply { response, mark: 0, data: Vec::new() }
    }
}

impl From<Step> for Reply {
    fn from(step: Step) -> Reply {
        reply(step, |actions, area| Response::Step { actions, area })
    }
}

/// The handles of one kind: the system's numbers in the order in which they were given out, and which are in force.
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

    fn choose(&self, which: HandleRef) -> u64 {
        let pick = |serials: &[usize], at: u8| {
            let serial = serials.get(usize::from(at).checked_rem(serials.len())?)?;
            Some(self.numbers[*serial])
        };
        let chosen = match which {
            HandleRef::Live(at) => pick(&self.live, at),
            HandleRef::Dead(at) => {
                let dead: Vec<usize> = (0..self.numbers.len()).filter(|serial| !self.live.contains(serial)).collect();
                pick(&dead, at)
            }
            HandleRef::Unknown => None,
        };
        chosen.unwrap_or(DEFAULT_TENANT)
    }

    fn live_numbers(&self) -> impl Iterator<Item = u64> {
        self.live.iter().map(|&serial| self.numbers[serial])
    }
}

/// One system, the handles it gave out, and how far each receiver's peer has sent.
#[derive(Clone, Debug)]
pub struct Driver<S> {
    /// The system under test.
    pub system: S,
    receivers: Handles,
    leases: Handles,
    waits: Handles,
    tenants: Handles,
    /// The latest time that the clock was advanced to.
    now_ns: u64,
    /// By receiver, in the order of attachment: bytes that its peer sent.
    sent: Vec<u64>,
    tokens: u64,
}

impl<S: System> Driver<S> {
    /// A driver for a system that was not used yet.
    pub fn new(system: S) -> Driver<S> {
        Driver {
            system,
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
        self.try_play(op).unwrap_or_else(|status| Reply::of(Response::Refused(status)))
    }

    /// The system's handles of its receivers, oldest first.
    pub fn receivers(&self) -> Vec<u64> {
        self.receivers.live_numbers().collect()
    }

    /// The system's handles of the host's own buffers, oldest first.
    pub fn leases(&self) -> Vec<u64> {
        self.leases.live_numbers().collect()
    }

    /// The system's handle of a buffer, by the number that answers have for it.
    pub fn lease_number(&self, serial: usize) -> u64 {
        self.leases.numbers[serial]
    }

    /// The system's handles of the host's own waits, oldest first.
    pub fn waits(&self) -> Vec<u64> {
        self.waits.live_numbers().collect()
    }

    /// The system's handles of all tenants there ever were, oldest first.
    pub fn tenants(&self) -> Vec<u64> {
        self.tenants.numbers.clone()
    }

    /// Its system ends, and another one takes its place: all handles but those of tenants are over.
    pub(crate) fn restart(self, next: impl FnOnce(S) -> S) -> Driver<S> {
        let Driver { system, tenants, now_ns, .. } = self;
        Driver { tenants, now_ns, ..Driver::new(next(system)) }
    }

    /// A buffer of the host's own that another system left.
    pub(crate) fn take_left(&mut self, lease: u64) {
        self.leases.add(lease);
    }

    /// The tenants of another system that shares them with this one.
    pub(crate) fn share_tenants<T>(&mut self, of: &Driver<T>) {
        self.tenants.clone_from(&of.tenants);
    }

    fn try_play(&mut self, op: Op) -> Result<Reply, i32> {
        match op {
            Op::Attach { class, bytes, tenant, policy, notify_if_full, unknown_length } => {
                let (token, bytes) = (self.next_token(), stream(self.sent.len(), 0, bytes.into()));
                let tenant = tenant.map(|tenant| self.tenants.choose(tenant));
                let with = Attach { class, token, tenant, policy, notify_if_full, unknown_length };
                let id = self.system.attach(with, &bytes)?;
                self.attached(id, bytes.len() as u64)
            }
            Op::Adopt { class, lease, offset, buffered_bytes } => {
                let (token, lease) = (self.next_token(), self.leases.choose(lease));
                let id = self.system.adopt(Attach::new(class, token), Taken { lease, offset, buffered_bytes })?;
                self.leases.end(lease);
                self.attached(id, 0)
            }
            Op::Report { receiver, event } => self.report(self.receivers.choose(receiver), event),
            Op::Obey { receiver, choice, amount } => {
                let id = self.receivers.choose(receiver);
                match self.facts_to_obey(id)?.outcome(choice, amount) {
                    Some(event) => self.report(id, event),
                    None => Ok(Reply::of(Response::Nothing)),
                }
            }
            Op::Decoded { receiver, consumed, need_more, usable } => {
                self.system.decoded(self.receivers.choose(receiver), consumed, need_more, usable).map(Reply::from)
            }
            Op::Deliver { receiver, bytes } => self.deliver(self.receivers.choose(receiver), bytes),
            Op::Delivered { receiver, consumed, need_more } => {
                self.system.delivered(self.receivers.choose(receiver), consumed, need_more).map(Reply::from)
            }
            Op::Take { receiver } => self.take(self.receivers.choose(receiver)),
            Op::SetTenant { receiver, tenant } => {
                let tenant = tenant.map(|tenant| self.tenants.choose(tenant));
                self.system.set_tenant(self.receivers.choose(receiver), tenant).map(|()| Reply::of(Response::Done))
            }
            Op::SetClass { receiver, class } => {
                self.system.set_class(self.receivers.choose(receiver), class).map(|()| Reply::of(Response::Done))
            }
            Op::SetPolicy { receiver, policy } => {
                self.system.set_policy(self.receivers.choose(receiver), policy).map(Reply::from)
            }
            host => self.try_as_host(host),
        }
    }

    /// Plays an operation that is not about a receiver.
    fn try_as_host(&mut self, op: Op) -> Result<Reply, i32> {
        let response = match op {
            Op::Request { class, size_index, tenant, has_deadline } => {
                let tenant = tenant.map(|tenant| self.tenants.choose(tenant));
                let ask = Ask { class, size_index, tenant, token: self.next_token(), has_deadline };
                match self.system.request(ask)? {
                    Asked::Lease(lease) => Response::Lease(self.leases.add(lease)),
                    Asked::Wait(wait) => Response::Wait(self.waits.add(wait)),
                }
            }
            Op::TryRequest { class, size_index, tenant, has_deadline } => {
                let tenant = tenant.map(|tenant| self.tenants.choose(tenant));
                let ask = Ask { class, size_index, tenant, token: self.next_token(), has_deadline };
                match self.system.try_request(ask)? {
                    Some(lease) => Response::Lease(self.leases.add(lease)),
                    None => Response::Nothing,
                }
            }
            Op::Release { lease } => {
                let lease = self.leases.choose(lease);
                self.system.release(lease)?;
                self.leases.end(lease);
                Response::Done
            }
            Op::Cancel { wait } => {
                let wait = self.waits.choose(wait);
                self.system.cancel(wait)?;
                self.waits.end(wait);
                Response::Done
            }
            Op::PollNotice => return Ok(self.poll_notice()),
            Op::Progress { lease, bytes } => {
                self.system.progress(self.leases.choose(lease), bytes)?;
                Response::Done
            }
            Op::PollReclaim => match self.system.poll_reclaim() {
                None => Response::Nothing,
                Some(Demand { lease, token, kind, lease_info }) => {
                    Response::Demand { lease: self.leases.find(lease), token, kind, lease_info }
                }
            },
            Op::CreateTenant { weight, guaranteed, cap } => {
                let tenant = self.system.create_tenant(TenantConfig { weight, guaranteed, cap })?;
                Response::Tenant(self.tenants.add(tenant))
            }
            Op::RemoveTenant { tenant } => {
                let tenant = self.tenants.choose(tenant);
                self.system.remove_tenant(tenant)?;
                self.tenants.end(tenant);
                Response::Done
            }
            Op::Tick { now_ns } => self.tick(now_ns),
            Op::Later { ns } => self.tick(self.now_ns.saturating_add(ns)),
            Op::Drain => {
                self.system.drain();
                Response::Done
            }
            Op::SetTimes { frame_grace_ns, blocked_ns } => {
                self.system.set_times(frame_grace_ns, blocked_ns)?;
                Response::Done
            }
            Op::SetLimit { buffers } => {
                self.system.set_limit(buffers.into())?;
                Response::Done
            }
            Op::GiveBackPages => {
                self.system.trim();
                Response::Done
            }
            _ => unreachable!("other events are a receiver's"),
        };
        Ok(Reply::of(response))
    }

    fn tick(&mut self, now_ns: u64) -> Response {
        self.now_ns = self.now_ns.max(now_ns);
        self.system.tick(now_ns);
        Response::Done
    }

    /// What is left for the host to do, and as much room as it may receive into.
    fn facts_to_obey(&mut self, id: u64) -> Result<Facts, i32> {
        let (step, facts) = (self.system.pending(id)?, self.system.describe(id)?.facts);
        let capacity = if step.area > 0 { facts.buffered_bytes + step.area } else { facts.capacity };
        Ok(Facts { pending: step.actions, capacity, ..facts })
    }

    fn next_token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// A receiver moved to another system.
    pub(crate) fn moved_away(&mut self, id: u64) {
        self.receivers.end(id);
    }

    /// A receiver came from another system; what is pending.
    pub(crate) fn moved_here(&mut self, id: u64) -> Result<Reply, i32> {
        self.attached(id, 0)
    }

    fn attached(&mut self, id: u64, sent: u64) -> Result<Reply, i32> {
        let receiver = self.receivers.add(id);
        self.sent.push(sent);
        let step = self.system.pending(id)?;
        Ok(reply(step, |actions, area| Response::Attached { receiver, actions, area }))
    }

    fn report(&mut self, id: u64, event: Event) -> Result<Reply, i32> {
        let serial = self.receivers.find(id);
        // A submitted receive is written by the operating system before its outcome is known.
        let arriving = match event {
            Event::Received { bytes } => bytes.min(WRITE_BYTES_MAX),
            Event::Done(actions) if actions.has(Action::Recv) => WRITE_BYTES_MAX,
            _ => 0,
        };
        if let Some(serial) = serial.filter(|_| arriving > 0) {
            self.system.write(id, &stream(serial, self.sent[serial], arriving));
        }
        let step = self.system.report(id, event)?;
        if let (Event::Received { bytes }, Some(serial)) = (event, serial) {
            self.sent[serial] += u64::from(bytes);
        }
        if step.actions & Action::Finished as u32 != 0 {
            self.receivers.end(id);
        }
        Ok(Reply::from(step))
    }

    fn deliver(&mut self, id: u64, bytes: u16) -> Result<Reply, i32> {
        let serial = self.receivers.find(id).unwrap_or(0);
        let from = self.sent.get(serial).copied().unwrap_or(0);
        let (accepted, step) = self.system.deliver(id, &stream(serial, from, bytes.into()))?;
        self.sent[serial] += u64::from(accepted);
        Ok(reply(step, |actions, area| Response::Delivered { accepted, actions, area }))
    }

    fn take(&mut self, id: u64) -> Result<Reply, i32> {
        let Taken { lease, offset, buffered_bytes } = self.system.take(id)?;
        let serial = self.leases.add(lease);
        let content = self.system.content(lease)?;
        let Step { actions, area, mark, .. } = self.system.pending(id)?;
        let content = content.into_iter().skip(offset as usize).take(buffered_bytes as usize).collect();
        Ok(Reply { response: Response::Taken { lease: serial, offset, actions, area }, mark, data: content })
    }

    fn poll_notice(&mut self) -> Reply {
        match self.system.poll_notice() {
            None => Reply::of(Response::Nothing),
            Some(Notice::Attachable) => Reply::of(Response::Attachable),
            Some(Notice::Lease { wait, token, lease }) => {
                let (wait, lease) = (self.waits.end(wait), self.leases.add(lease));
                Reply::of(Response::GrantedLease { wait, token, lease })
            }
            Some(Notice::Drained) => Reply::of(Response::Drained),
            Some(Notice::Overdue { token, lease }) => {
                Reply::of(Response::Overdue { lease: self.leases.find(lease), token })
            }
            Some(Notice::Receiver { id, token, step }) => {
                let receiver = self.receivers.find(id);
                reply(step, |actions, area| Response::GrantedReceiver { receiver, token, actions, area })
            }
        }
    }
}

fn reply(step: Step, response: impl FnOnce(u32, u32) -> Response) -> Reply {
    Reply { response: response(step.actions, step.area), mark: step.mark, data: step.data }
}

/// What the peer of a receiver sends: bytes that show their receiver and their place in its stream.
fn stream(receiver: usize, from: u64, bytes: u32) -> Vec<u8> {
    (from..from + u64::from(bytes)).map(|at| (at as u8).wrapping_add((receiver as u8).wrapping_mul(89))).collect()
}
