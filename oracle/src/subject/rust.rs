//! The Rust API.

use super::{Ask, Asked, Cell, Demand, Granted, Info, Step, Subject, Taken};
use crate::Facts;
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{self, Idleness, LeaseId, Outcome, Pool, PoolConfig, PoolError, Request, WaitId, WaitInfo};
use demuxbuf::pool::{TenantConfig, TenantId, TenantInfo};
use demuxbuf::receiver::{self, Handover, ReceiverError, ReceiverId, ReceiverStats, Receivers, ReceiversConfig};
use demuxbuf_capi::*;

/// A pool alone.
#[derive(Clone, Debug)]
pub struct RustPool(Pool);

/// Receivers.
#[derive(Debug)]
pub struct RustReceivers(Receivers);

impl RustPool {
    /// A pool with this configuration, which is allowed.
    pub fn new(config: &PoolConfig) -> RustPool {
        RustPool(Pool::new(config).expect("an allowed configuration"))
    }

    /// Writes down all that the future depends on, by the caller's numbers for waits and leases.
    pub fn write_state(&self, state: &mut Vec<u64>, name: &dyn Fn(u64) -> u64) {
        self.0.write_state(state, &|wait| name(wait.to_bits()), &|lease| name(lease.to_bits()));
    }
}

impl Clone for RustReceivers {
    fn clone(&self) -> RustReceivers {
        RustReceivers(self.0.fork().expect("the pool is not shared"))
    }
}

impl RustReceivers {
    /// Receivers with this configuration, which is allowed.
    pub fn new(config: &ReceiversConfig) -> RustReceivers {
        RustReceivers(Receivers::new(config).expect("an allowed configuration"))
    }

    /// Writes down all that the future depends on, by the caller's numbers for receivers, and for the host's own waits
    /// and leases.
    pub fn write_state(&self, state: &mut Vec<u64>, name: &dyn Fn(u64) -> u64) {
        let (wait, lease) = (|wait: WaitId| name(wait.to_bits()), |lease: LeaseId| name(lease.to_bits()));
        self.0.write_state(state, &|id| name(id.to_bits()), &wait, &lease);
    }

    fn show(&mut self, id: ReceiverId, actions: Actions) -> Step {
        if actions.has(Action::Recv) {
            let area = self.0.receive_area(id).map_or(0, |area| area.len() as u32);
            return Step { actions: actions.bits(), area, data: Vec::new() };
        }
        let data = self.0.data(id).unwrap_or_default().iter().copied().map(Some).collect();
        Step { actions: actions.bits(), area: 0, data }
    }
}

fn pool_code(error: PoolError) -> i32 {
    code(error.into())
}

fn code(error: ReceiverError) -> i32 {
    match error {
        ReceiverError::Stale => DEMUXBUF_ERR_STALE,
        ReceiverError::UnknownClass => DEMUXBUF_ERR_CLASS,
        ReceiverError::UnknownSize => DEMUXBUF_ERR_SIZE,
        ReceiverError::TooLarge => DEMUXBUF_ERR_TOO_LARGE,
        ReceiverError::NotLarger => DEMUXBUF_ERR_NOT_LARGER,
        ReceiverError::Share(_) => DEMUXBUF_ERR_RANGE,
        ReceiverError::AlreadyWaiting => DEMUXBUF_ERR_ALREADY_WAITING,
        ReceiverError::TableFull => DEMUXBUF_ERR_TABLE_FULL,
        ReceiverError::NoBufferFree => DEMUXBUF_ERR_NO_BUFFER_FREE,
        ReceiverError::NoBuffer => DEMUXBUF_ERR_NO_BUFFER,
        ReceiverError::TooManyBytes => DEMUXBUF_ERR_TOO_MANY_BYTES,
        ReceiverError::InternalEvent => DEMUXBUF_ERR_INTERNAL_EVENT,
        ReceiverError::Event(error) => error.code(),
        other => unreachable!("no operation leads to {other:?}"),
    }
}

fn asked(outcome: Outcome) -> Asked {
    match outcome {
        Outcome::Granted(lease) => Asked::Lease(lease.to_bits()),
        Outcome::Queued(wait) => Asked::Wait(wait.to_bits()),
    }
}

impl Subject for RustPool {
    fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        let Ask { class, size, tenant, token } = ask;
        let request = Request { token, tenant: tenant.map(TenantId::from_bits), class, size, is_timed: true };
        self.0.request_for(&request).map(asked).map_err(pool_code)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        self.0.release(LeaseId::from_bits(lease)).map_err(pool_code)
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        self.0.cancel(WaitId::from_bits(wait)).map_err(pool_code)
    }

    fn poll_grant(&mut self) -> Option<Granted> {
        let pool::Grant { wait, token, lease, .. } = self.0.poll_grant()?;
        Some(Granted::Lease { wait: wait.to_bits(), token, lease: lease.to_bits() })
    }

    fn tick(&mut self, now_ns: u64) {
        self.0.handle_timeout(now_ns);
    }

    fn poll_timeout(&mut self) -> u64 {
        self.0.poll_timeout()
    }

    fn progress(&mut self, lease: u64, bytes: u64) -> Result<(), i32> {
        self.0.progress(LeaseId::from_bits(lease), bytes).map_err(pool_code)
    }

    fn poll_reclaim(&mut self) -> Option<Demand> {
        let pool::Reclaim { lease, token, kind, idleness } = self.0.poll_reclaim()?;
        Some(Demand { lease: lease.to_bits(), token, kind, idleness })
    }

    fn create_tenant(&mut self, share: TenantConfig) -> Result<u64, i32> {
        self.0.create_tenant(&share).map(TenantId::to_bits).map_err(pool_code)
    }

    fn remove_tenant(&mut self, tenant: u64) -> Result<(), i32> {
        self.0.remove_tenant(TenantId::from_bits(tenant)).map_err(pool_code)
    }

    fn describe_tenant(&mut self, tenant: u64) -> Result<TenantInfo, i32> {
        self.0.describe_tenant(TenantId::from_bits(tenant)).map_err(pool_code)
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<WaitInfo, i32>> {
        Some(self.0.describe_wait(WaitId::from_bits(wait)).map_err(pool_code))
    }

    fn describe_lease(&self, lease: u64) -> Option<Result<Option<Idleness>, i32>> {
        Some(self.0.describe_lease(LeaseId::from_bits(lease)).map_err(pool_code))
    }

    fn passed_max(&mut self, class: u8) -> Result<u64, i32> {
        Ok(self.0.passed_max(class))
    }

    fn stats(&mut self) -> ReceiverStats {
        ReceiverStats { pool: self.0.stats(), ..ReceiverStats::default() }
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        self.0.check_invariants().map_err(str::to_owned)
    }
}

impl Subject for RustReceivers {
    fn attach(&mut self, class: u8, token: u64, bytes: &[u8]) -> Result<u64, i32> {
        self.0.attach_with(class, token, bytes).map(ReceiverId::to_bits).map_err(code)
    }

    fn adopt(&mut self, class: u8, token: u64, content: Taken) -> Result<u64, i32> {
        let Taken { lease, offset, level } = content;
        let content = Handover { lease: LeaseId::from_bits(lease), offset, level };
        self.0.adopt(class, token, content).map(ReceiverId::to_bits).map_err(code)
    }

    fn write(&mut self, receiver: u64, bytes: &[u8]) {
        if let Ok(area) = self.0.receive_area(ReceiverId::from_bits(receiver)) {
            area.iter_mut().zip(bytes).for_each(|(place, &byte)| *place = byte);
        }
    }

    fn report(&mut self, receiver: u64, event: Event) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = self.0.handle(id, event).map_err(code)?;
        Ok(self.show(id, actions))
    }

    fn decoded(&mut self, receiver: u64, consumed: u32, need_more: u32) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = self.0.decoded(id, consumed, need_more).map_err(code)?;
        Ok(self.show(id, actions))
    }

    fn pending(&mut self, receiver: u64) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = self.0.pending(id).map_err(code)?;
        Ok(self.show(id, actions))
    }

    fn take(&mut self, receiver: u64) -> Result<Taken, i32> {
        let Handover { lease, offset, level } = self.0.take(ReceiverId::from_bits(receiver)).map_err(code)?;
        Ok(Taken { lease: lease.to_bits(), offset, level })
    }

    fn content(&mut self, lease: u64) -> Result<Vec<Cell>, i32> {
        let memory = self.0.buffer(LeaseId::from_bits(lease)).map_err(code)?;
        Ok(memory.iter().copied().map(Some).collect())
    }

    fn describe(&mut self, receiver: u64) -> Result<Info, i32> {
        let info = self.0.describe(ReceiverId::from_bits(receiver)).map_err(code)?;
        Ok(Info {
            facts: Facts::from(&info.connection),
            token: info.token,
            class: info.class,
            age_ns: info.wait_age_ns,
            passed: info.grants_passed,
            idleness: info.idleness.unwrap_or_default(),
        })
    }

    fn give_back_pages(&mut self) {
        self.0.give_back_pages();
    }

    fn grow(&mut self, receiver: u64, size: u8) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = self.0.grow(id, size).map_err(code)?;
        Ok(self.show(id, actions))
    }

    fn set_tenant(&mut self, receiver: u64, tenant: Option<u64>) -> Result<(), i32> {
        self.0.set_tenant(ReceiverId::from_bits(receiver), tenant.map(TenantId::from_bits)).map_err(code)
    }

    fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        let Ask { class, size, tenant, token } = ask;
        self.0.request_for(class, size, tenant.map(TenantId::from_bits), token).map(asked).map_err(code)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        self.0.release(LeaseId::from_bits(lease)).map_err(code)
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        self.0.cancel(WaitId::from_bits(wait)).map_err(code)
    }

    fn poll_grant(&mut self) -> Option<Granted> {
        Some(match self.0.poll_grant()? {
            receiver::Granted::Receiver { id, token, actions } => {
                Granted::Receiver { id: id.to_bits(), token, step: self.show(id, actions) }
            }
            receiver::Granted::Lease { wait, token, lease } => {
                Granted::Lease { wait: wait.to_bits(), token, lease: lease.to_bits() }
            }
        })
    }

    fn tick(&mut self, now_ns: u64) {
        self.0.handle_timeout(now_ns);
    }

    fn poll_timeout(&mut self) -> u64 {
        self.0.poll_timeout()
    }

    fn create_tenant(&mut self, share: TenantConfig) -> Result<u64, i32> {
        self.0.create_tenant(&share).map(TenantId::to_bits).map_err(code)
    }

    fn remove_tenant(&mut self, tenant: u64) -> Result<(), i32> {
        self.0.remove_tenant(TenantId::from_bits(tenant)).map_err(code)
    }

    fn describe_tenant(&mut self, tenant: u64) -> Result<TenantInfo, i32> {
        self.0.describe_tenant(TenantId::from_bits(tenant)).map_err(code)
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<WaitInfo, i32>> {
        Some(self.0.describe_wait(WaitId::from_bits(wait)).map_err(code))
    }

    fn passed_max(&mut self, class: u8) -> Result<u64, i32> {
        self.0.passed_max(class).map_err(code)
    }

    fn stats(&mut self) -> ReceiverStats {
        self.0.stats()
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        self.0.check_invariants().map_err(str::to_owned)
    }
}
