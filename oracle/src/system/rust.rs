//! The Rust API.

use super::{Ask, Asked, Attach, Cell, Demand, Info, Notice, Stats, Step, System, Taken, ThreadSystem, UNKNOWN_SIZE};
use crate::Facts;
use crate::receiving_system::Reason;
use demuxbuf::connection::{Action, Actions, Event, Policy};
use demuxbuf::pool::{
    self, AttachOptions, Budget, BufferSource, Delivery, LeasedContent, Pool, PoolConfig, PoolError, PoolStats,
    ReceiverId,
};
use demuxbuf::receiving::ShedReason;
use demuxbuf::scheduler::{
    self, LeaseId, LeaseInfo, Outcome, Request, Scheduler, SchedulerConfig, SchedulerError, WaitId, WaitInfo,
};
use demuxbuf::scheduler::{TenantConfig, TenantId, TenantInfo};
use demuxbuf::shared::{ExportedReceiver, PoolShard, SharedPool};
use demuxbuf_capi::*;

/// A pool alone.
#[derive(Clone, Debug)]
pub struct RustScheduler(Scheduler);

/// Receivers, and bytes that were delivered and are in place.
#[derive(Clone, Debug)]
pub struct RustPool<S: BufferSource = Budget>(Pool<S>, Vec<u8>);

impl RustScheduler {
    /// A pool with this configuration, which is allowed.
    pub fn new(config: &SchedulerConfig) -> RustScheduler {
        RustScheduler(Scheduler::new(config).expect("an allowed configuration"))
    }

    /// Writes down all that the future depends on, by the caller's numbers for waits and leases.
    pub fn state_key(&self, state: &mut Vec<u64>, name: &dyn Fn(u64) -> u64) {
        self.0.state_key(state, &|wait| name(wait.to_bits()), &|lease| name(lease.to_bits()));
    }
}

impl RustPool {
    /// Receivers with this configuration, which is allowed.
    pub fn new(config: &PoolConfig) -> RustPool {
        RustPool(Pool::new(config).expect("an allowed configuration"), Vec::new())
    }

    /// Writes down all that the future depends on, by the places of receivers in these, and the caller's numbers for
    /// the host's own waits and leases. Ages count up to a limit.
    pub fn state_key(&self, state: &mut Vec<u64>, age_ns_max: u64, receivers: &[u64], name: &dyn Fn(u64) -> u64) {
        let place = |bits: u64| receivers.iter().position(|&known| known == bits);
        let receiver = |receiver: ReceiverId| place(receiver.to_bits()).map_or(u64::MAX, |place| place as u64);
        let (wait, lease) = (|wait: WaitId| name(wait.to_bits()), |lease: LeaseId| name(lease.to_bits()));
        self.0.state_key(state, Some(age_ns_max), &receiver, &wait, &lease);
    }
}

impl ThreadSystem for RustPool<PoolShard> {
    type Shared = SharedPool;
    type Exported = ExportedReceiver;

    fn of_threads(config: &PoolConfig, threads: u32) -> (SharedPool, Vec<RustPool<PoolShard>>) {
        let shared_pool = SharedPool::new(config, threads).expect("an allowed configuration");
        let pools = (0..threads as usize).map(|thread| RustPool::of_thread(&shared_pool, thread)).collect();
        (shared_pool, pools)
    }

    fn of_thread(shared: &SharedPool, thread: usize) -> RustPool<PoolShard> {
        RustPool(shared.shard(thread as u32).expect("it is free"), Vec::new())
    }

    fn close(shared: &SharedPool) -> bool {
        shared.close();
        true
    }

    fn export(&mut self, receiver: u64) -> Result<ExportedReceiver, i32> {
        self.0.export(ReceiverId::from_bits(receiver)).map_err(code)
    }

    fn import(&mut self, exported: &mut ExportedReceiver) -> Result<u64, i32> {
        self.0.import(exported).map(ReceiverId::to_bits).map_err(code)
    }

    fn poll_wake(&mut self) -> Option<usize> {
        self.0.poll_wake().map(|thread| thread as usize)
    }

    fn poll_wake_of_any(shared: &SharedPool) -> Option<usize> {
        shared.poll_wake().map(|thread| thread as usize)
    }

    fn check_shared(shared: &SharedPool) -> Result<(), String> {
        shared.check_invariants().map_err(str::to_owned)
    }
}

impl<S: BufferSource> RustPool<S> {
    fn show(&mut self, id: ReceiverId, actions: Actions) -> Step {
        if actions.has(Action::Recv) || actions.has(Action::Peek) {
            let area = self.0.receive_area(id).map_or(0, |area| area.len() as u32);
            return Step { actions: actions.bits(), area, mark: 0, data: Vec::new() };
        }
        let place = self.0.find(id).map(|index| self.0.place(index, actions));
        if let Ok((None, mark @ 1..)) = place {
            assert_eq!(self.0.low_water_mark(id), Ok(mark));
            return Step { actions: actions.bits(), area: 0, mark, data: Vec::new() };
        }
        let data = self.0.data(id).unwrap_or_default().iter().copied().map(Some).collect();
        Step { actions: actions.bits(), area: 0, mark: 0, data }
    }

    /// What a receiver has in place, if it has something.
    fn in_place(&self, id: ReceiverId) -> &[u8] {
        let in_place_bytes = self.0.find(id).map_or(0, |index| self.0.in_place_bytes(index));
        &self.1[self.1.len() - in_place_bytes as usize..]
    }

    /// As `show`, after a call that names bytes in place.
    fn show_delivered(&mut self, id: ReceiverId, actions: Actions) -> Step {
        let in_place = self.in_place(id).iter().copied().map(Some).collect::<Vec<_>>();
        let step = self.show(id, actions);
        if in_place.is_empty() { step } else { Step { data: in_place, ..step } }
    }
}

fn scheduler_code(error: SchedulerError) -> i32 {
    match error {
        SchedulerError::UnknownClass { .. } => DEMUXBUF_ERR_CLASS,
        SchedulerError::UnknownSize { .. } => UNKNOWN_SIZE,
        SchedulerError::TooLarge { .. } => DEMUXBUF_ERR_TOO_LARGE,
        SchedulerError::WaitersFull { .. } | SchedulerError::TenantsFull { .. } => DEMUXBUF_ERR_TABLE_FULL,
        SchedulerError::StaleLease | SchedulerError::StaleWait | SchedulerError::StaleTenant => DEMUXBUF_ERR_STALE,
        SchedulerError::TenantConfig { .. } => DEMUXBUF_ERR_RANGE,
        other => unreachable!("no operation leads to {other:?}"),
    }
}

fn code(error: PoolError) -> i32 {
    match error {
        PoolError::Stale => DEMUXBUF_ERR_STALE,
        PoolError::Scheduler(error) => scheduler_code(error),
        PoolError::ReceiversFull { .. } => DEMUXBUF_ERR_TABLE_FULL,
        PoolError::NoBufferFree => DEMUXBUF_ERR_NO_BUFFER_FREE,
        PoolError::NoBuffer => DEMUXBUF_ERR_NO_BUFFER,
        PoolError::TooManyBytes => DEMUXBUF_ERR_TOO_MANY_BYTES,
        PoolError::InPlace => DEMUXBUF_ERR_IN_PLACE,
        PoolError::LookedAt => DEMUXBUF_ERR_LOOKED_AT,
        PoolError::InternalEvent => DEMUXBUF_ERR_INTERNAL_EVENT,
        PoolError::Draining => DEMUXBUF_ERR_DRAINING,
        PoolError::CannotCount { .. } => DEMUXBUF_ERR_CANNOT_COUNT,
        PoolError::DeadlinesOff => DEMUXBUF_ERR_DEADLINES_OFF,
        PoolError::NoDeadline => DEMUXBUF_ERR_NO_DEADLINE,
        PoolError::NotMovable => DEMUXBUF_ERR_NOT_MOVABLE,
        PoolError::ExportsFull => DEMUXBUF_ERR_EXPORTS_FULL,
        PoolError::PoolClosed => DEMUXBUF_ERR_POOL_CLOSED,
        PoolError::Event(error) => error.code(),
        other => unreachable!("no operation leads to {other:?}"),
    }
}

fn reason(reason: ShedReason) -> Reason {
    match reason {
        ShedReason::Deadline => Reason::Deadline,
        ShedReason::Evicted => Reason::Evicted,
        ShedReason::Memory => Reason::Memory,
    }
}

fn options(with: Attach) -> AttachOptions {
    let Attach { class, token, tenant, policy, notify_if_full, unknown_length } = with;
    AttachOptions { class, token, tenant: tenant.map(TenantId::from_bits), policy, notify_if_full, unknown_length }
}

fn request(ask: Ask) -> Request {
    let Ask { class, size_index, tenant, token, has_deadline } = ask;
    Request { tenant: tenant.map(TenantId::from_bits), size_index, has_deadline, ..Request::new(class, token) }
}

fn asked(outcome: Outcome) -> Asked {
    match outcome {
        Outcome::Granted(lease) => Asked::Lease(lease.to_bits()),
        Outcome::Queued(wait) => Asked::Wait(wait.to_bits()),
    }
}

impl System for RustScheduler {
    const HAS_RECEIVERS: bool = false;

    fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        self.0.request_for(&Request { has_deadline: true, ..request(ask) }).map(asked).map_err(scheduler_code)
    }

    fn try_request(&mut self, ask: Ask) -> Result<Option<u64>, i32> {
        let granted = self.0.try_request(&Request { has_deadline: true, ..request(ask) });
        granted.map(|lease| lease.map(LeaseId::to_bits)).map_err(scheduler_code)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        self.0.release(LeaseId::from_bits(lease)).map_err(scheduler_code)
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        self.0.cancel(WaitId::from_bits(wait)).map_err(scheduler_code)
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        let scheduler::Grant { wait, token, lease, .. } = self.0.poll_grant()?;
        Some(Notice::Lease { wait: wait.to_bits(), token, lease: lease.to_bits() })
    }

    fn tick(&mut self, now_ns: u64) {
        self.0.handle_timeout(now_ns);
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        self.0.poll_timeout()
    }

    fn progress(&mut self, lease: u64, bytes: u64) -> Result<(), i32> {
        self.0.progress(LeaseId::from_bits(lease), bytes).map_err(scheduler_code)
    }

    fn poll_reclaim(&mut self) -> Option<Demand> {
        let scheduler::Reclaim { lease, token, kind, lease_info, .. } = self.0.poll_reclaim()?;
        Some(Demand { lease: lease.to_bits(), token, kind, lease_info })
    }

    fn create_tenant(&mut self, tenant_config: TenantConfig) -> Result<u64, i32> {
        self.0.create_tenant(&tenant_config).map(TenantId::to_bits).map_err(scheduler_code)
    }

    fn remove_tenant(&mut self, tenant: u64) -> Result<(), i32> {
        self.0.remove_tenant(TenantId::from_bits(tenant)).map_err(scheduler_code)
    }

    fn describe_tenant(&mut self, tenant: u64) -> Result<TenantInfo, i32> {
        self.0.describe_tenant(TenantId::from_bits(tenant)).map_err(scheduler_code)
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<WaitInfo, i32>> {
        Some(self.0.describe_wait(WaitId::from_bits(wait)).map_err(scheduler_code))
    }

    fn describe_lease(&self, lease: u64) -> Option<Result<Option<LeaseInfo>, i32>> {
        Some(self.0.describe_lease(LeaseId::from_bits(lease)).map_err(scheduler_code))
    }

    fn bypass_bound(&mut self) -> u64 {
        self.0.bypass_bound()
    }

    fn stats(&mut self) -> Stats {
        let pool = filled!(PoolStats::default(); scheduler: self.0.stats());
        Stats { pool, reclaim: self.0.reclaim_stats() }
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        self.0.check_invariants().map_err(str::to_owned)
    }
}

impl<S: BufferSource> System for RustPool<S> {
    fn attach(&mut self, with: Attach, bytes: &[u8]) -> Result<u64, i32> {
        self.0.attach_with(&options(with), bytes).map(ReceiverId::to_bits).map_err(code)
    }

    fn set_class(&mut self, receiver: u64, class: u8) -> Result<(), i32> {
        self.0.set_class(ReceiverId::from_bits(receiver), class).map_err(code)
    }

    fn set_policy(&mut self, receiver: u64, policy: Policy) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = self.0.set_policy(id, &policy).map_err(code)?;
        Ok(self.show(id, actions))
    }

    fn adopt(&mut self, with: Attach, content: Taken) -> Result<u64, i32> {
        let Taken { lease, offset, buffered_bytes } = content;
        let content = LeasedContent { lease: LeaseId::from_bits(lease), offset, buffered_bytes };
        self.0.adopt(&options(with), content).map(ReceiverId::to_bits).map_err(code)
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

    fn decoded(&mut self, receiver: u64, consumed: u32, need_more: u32, usable: u32) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = match usable {
            0 => self.0.decoded(id, consumed, need_more).map_err(code)?,
            _ => self.0.decoded_usable(id, consumed, need_more, usable).map_err(code)?,
        };
        Ok(self.show(id, actions))
    }

    fn deliver(&mut self, receiver: u64, bytes: &[u8]) -> Result<(u32, Step), i32> {
        let id = ReceiverId::from_bits(receiver);
        let Delivery { accepted_bytes, in_place_bytes, actions } = self.0.deliver(id, bytes).map_err(code)?;
        if in_place_bytes > 0 {
            self.1 = bytes[..in_place_bytes as usize].to_vec();
        }
        Ok((accepted_bytes, self.show_delivered(id, actions)))
    }

    fn delivered(&mut self, receiver: u64, consumed: u32, need_more: u32) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let in_place = self.in_place(id).to_vec();
        let actions = self.0.delivered(id, &in_place, consumed, need_more).map_err(code)?;
        Ok(self.show_delivered(id, actions))
    }

    fn pending(&mut self, receiver: u64) -> Result<Step, i32> {
        let id = ReceiverId::from_bits(receiver);
        let actions = self.0.pending(id).map_err(code)?;
        Ok(self.show(id, actions))
    }

    fn take(&mut self, receiver: u64) -> Result<Taken, i32> {
        let LeasedContent { lease, offset, buffered_bytes } =
            self.0.take(ReceiverId::from_bits(receiver)).map_err(code)?;
        Ok(Taken { lease: lease.to_bits(), offset, buffered_bytes })
    }

    fn content(&mut self, lease: u64) -> Result<Vec<Cell>, i32> {
        let memory = self.0.buffer(LeaseId::from_bits(lease)).map_err(code)?;
        let (addresses, content) = (memory.as_ptr_range(), memory.iter().copied().map(Some).collect());
        for address in [addresses.start, addresses.end.wrapping_sub(1)] {
            assert_eq!(self.0.lease_of_address(address).map(LeaseId::to_bits), Ok(lease));
        }
        Ok(content)
    }

    fn describe(&mut self, receiver: u64) -> Result<Info, i32> {
        let info = self.0.describe(ReceiverId::from_bits(receiver)).map_err(code)?;
        Ok(Info {
            facts: Facts { pending: info.pending.bits(), ..Facts::from(&info.connection) },
            token: info.token,
            class: info.class,
            age_ns: info.wait_age_ns,
            shed_reason: info.shed_reason.map(reason),
            awaited_bytes: info.awaited_bytes,
        })
    }

    fn trim(&mut self) {
        self.0.trim();
    }

    fn drain(&mut self) {
        self.0.drain();
    }

    fn set_times(&mut self, frame_grace_ns: u64, blocked_ns: u64) -> Result<(), i32> {
        self.0.set_times(frame_grace_ns, blocked_ns).map_err(|_| DEMUXBUF_ERR_CONFIG)
    }

    fn set_limit(&mut self, buffers: u64) -> Result<(), i32> {
        let buffer_bytes = u64::from(self.0.memory().split().buffer_bytes);
        self.0.set_memory_limit(buffers * buffer_bytes + buffer_bytes / 2).map_err(|_| DEMUXBUF_ERR_CONFIG)
    }

    fn set_tenant(&mut self, receiver: u64, tenant: Option<u64>) -> Result<(), i32> {
        self.0.set_tenant(ReceiverId::from_bits(receiver), tenant.map(TenantId::from_bits)).map_err(code)
    }

    fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        self.0.request_for(&request(ask)).map(asked).map_err(code)
    }

    fn try_request(&mut self, ask: Ask) -> Result<Option<u64>, i32> {
        self.0.try_request(&request(ask)).map(|lease| lease.map(LeaseId::to_bits)).map_err(code)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        self.0.release(LeaseId::from_bits(lease)).map_err(code)
    }

    fn progress(&mut self, lease: u64, _bytes: u64) -> Result<(), i32> {
        self.0.renew_lease(LeaseId::from_bits(lease)).map_err(code)
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        self.0.cancel(WaitId::from_bits(wait)).map_err(code)
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        Some(match self.0.poll_notice()? {
            pool::Notice::Receiver { id, token, actions } => {
                Notice::Receiver { id: id.to_bits(), token, step: self.show(id, actions) }
            }
            pool::Notice::Lease { wait, token, lease } => {
                Notice::Lease { wait: wait.to_bits(), token, lease: lease.to_bits() }
            }
            pool::Notice::Overdue { token, lease } => Notice::Overdue { token, lease: lease.to_bits() },
            pool::Notice::Drained => Notice::Drained,
            pool::Notice::Attachable => Notice::Attachable,
            notice => unreachable!("the model has no form of {notice:?}"),
        })
    }

    fn tick(&mut self, now_ns: u64) {
        self.0.handle_timeout(now_ns);
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        self.0.poll_timeout()
    }

    fn create_tenant(&mut self, tenant_config: TenantConfig) -> Result<u64, i32> {
        self.0.create_tenant(&tenant_config).map(TenantId::to_bits).map_err(code)
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

    fn bypass_bound(&mut self) -> u64 {
        self.0.bypass_bound()
    }

    fn stats(&mut self) -> Stats {
        self.0.stats().into()
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        self.0.check_invariants().map_err(str::to_owned)
    }
}
