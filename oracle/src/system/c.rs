//! The C API, called as C calls it.
#![allow(unsafe_code)]

use super::shared::c_config;
use super::{Ask, Asked, Attach, Cell, Info, Notice, Stats, Step, System, Taken};
use crate::Facts;
use crate::receiving_system::Reason;
use demuxbuf::connection::{Event, Policy};
use demuxbuf::pool::{MemoryModelStats, PoolConfig, PoolStats};
use demuxbuf::scheduler::{SchedulerStats, TenantConfig, TenantInfo};
use demuxbuf_capi::*;
use std::ptr::{null, null_mut};

/// A connection in the host's own struct.
#[derive(Debug)]
pub struct CConnection(demuxbuf_connection);

impl Clone for CConnection {
    fn clone(&self) -> CConnection {
        // SAFETY: a connection is a plain value, which C copies as bytes too.
        CConnection(unsafe { std::ptr::read(&raw const self.0) })
    }
}

pub(super) fn c_policy(policy: Policy) -> demuxbuf_policy {
    demuxbuf_policy {
        struct_size: size_of::<demuxbuf_policy>() as u32,
        resume_free_bytes: policy.resume_free_bytes,
        park_bytes: policy.park_bytes,
        reclaim_bytes: policy.reclaim_bytes,
        mode: policy.mode as u8,
        reads_per_wake: policy.reads_per_wake,
        pause_when_blocked: policy.pause_when_blocked.into(),
        reads_ahead: policy.reads_ahead.into(),
        counting: policy.counting.into(),
        ..Default::default()
    }
}

fn c_options(with: Attach, policy: Option<&demuxbuf_policy>) -> demuxbuf_attach_options {
    demuxbuf_attach_options {
        class_index: with.class.into(),
        token: with.token,
        tenant: with.tenant.unwrap_or(0),
        policy: policy.map_or(null(), |policy| policy),
        notify_if_full: with.notify_if_full.into(),
        unknown_length: with.unknown_length.into(),
        ..Default::default()
    }
}

fn c_request(ask: Ask) -> demuxbuf_request {
    demuxbuf_request {
        struct_size: size_of::<demuxbuf_request>() as u32,
        class_index: ask.class.into(),
        token: ask.token,
        tenant: ask.tenant.unwrap_or(0),
        has_deadline: ask.has_deadline.into(),
        reserved: 0,
    }
}

/// The status inside a mask, or the mask.
fn mask(actions: u32) -> Result<u32, i32> {
    if actions & DEMUXBUF_ERROR == 0 { Ok(actions) } else { Err(actions as i32) }
}

fn outcome(status: i32) -> Result<(), i32> {
    if status == DEMUXBUF_OK { Ok(()) } else { Err(status) }
}

impl CConnection {
    /// A connection with this policy, not attached yet.
    pub fn new(policy: Policy) -> CConnection {
        let mut connection = demuxbuf_connection::default();
        // SAFETY: pointers to locals.
        let status = unsafe { demuxbuf_connection_init(&mut connection, &c_policy(policy), null_mut(), null_mut()) };
        assert_eq!(status, DEMUXBUF_OK);
        CConnection(connection)
    }

    /// Reports an event.
    ///
    /// # Errors
    ///
    /// The status of the refusal.
    pub fn handle(&mut self, event: Event) -> Result<u32, i32> {
        let it = &raw mut self.0;
        // SAFETY: the pointer is to our own connection.
        mask(unsafe {
            match event {
                Event::Attach { buffered_bytes, capacity } => demuxbuf_connection_attach(it, buffered_bytes, capacity),
                Event::Readable => demuxbuf_connection_readable(it),
                Event::PeerClosed => demuxbuf_connection_report(it, DEMUXBUF_EVENT_PEER_CLOSED, 0),
                Event::KernelFull => demuxbuf_connection_report(it, DEMUXBUF_EVENT_KERNEL_FULL, 0),
                Event::BufferGranted { capacity } => demuxbuf_connection_buffer_granted(it, capacity),
                Event::BufferDenied => demuxbuf_connection_buffer_denied(it),
                Event::BufferParked { capacity } => {
                    demuxbuf_connection_report(it, DEMUXBUF_EVENT_BUFFER_PARKED, capacity)
                }
                Event::BufferReleased => demuxbuf_connection_buffer_released(it),
                Event::Received { bytes } => demuxbuf_connection_received(it, bytes),
                Event::WouldBlock => demuxbuf_connection_would_block(it),
                Event::WouldBlockArmed => demuxbuf_connection_would_block_armed(it),
                Event::EndOfStream => demuxbuf_connection_end_of_stream(it),
                Event::TransportError => demuxbuf_connection_transport_error(it),
                Event::Consumed { bytes } => demuxbuf_connection_consumed(it, bytes),
                Event::NeedMore { bytes } => demuxbuf_connection_need_more(it, bytes),
                Event::Block { reasons } => demuxbuf_connection_block(it, reasons),
                Event::Unblock { reasons } => demuxbuf_connection_unblock(it, reasons),
                Event::SetBlocked { reasons } => demuxbuf_connection_set_blocked(it, reasons),
                Event::Yield => demuxbuf_connection_report(it, DEMUXBUF_EVENT_YIELD, 0),
                Event::Wake => demuxbuf_connection_wake(it),
                Event::PauseRecv => demuxbuf_connection_pause_recv(it),
                Event::ResumeRecv => demuxbuf_connection_resume_recv(it),
                Event::Fail => demuxbuf_connection_fail(it),
                Event::Sync { buffered_bytes, capacity, blocked, needed_bytes: short, armed } => {
                    demuxbuf_connection_sync(it, buffered_bytes, capacity, blocked, short.into(), armed.into())
                }
                Event::ReclaimRequested => demuxbuf_connection_report(it, DEMUXBUF_EVENT_RECLAIM_REQUESTED, 0),
                Event::LeaseExpired => demuxbuf_connection_report(it, DEMUXBUF_EVENT_LEASE_EXPIRED, 0),
                Event::Done(actions) => demuxbuf_connection_done(it, actions.bits()),
                Event::Close => demuxbuf_connection_close(it),
            }
        })
    }

    /// Changes the policy.
    ///
    /// # Errors
    ///
    /// The status of the refusal.
    pub fn set_policy(&mut self, policy: Policy) -> Result<u32, i32> {
        // SAFETY: pointers to our own connection and to a local.
        mask(unsafe { demuxbuf_connection_set_policy(&mut self.0, &c_policy(policy), null_mut(), null_mut()) })
    }

    /// What is to be done now.
    pub fn pending(&self) -> u32 {
        // SAFETY: the pointer is to our own connection.
        unsafe { demuxbuf_connection_pending(&self.0) }
    }

    /// The most bytes one receive may bring now.
    pub fn recv_max(&self) -> u32 {
        // SAFETY: the pointer is to our own connection.
        unsafe { demuxbuf_connection_recv_max(&self.0) }
    }

    /// Everything that can be seen from outside.
    pub fn facts(&self) -> Facts {
        let mut info = demuxbuf_connection_info::default();
        // SAFETY: pointers to our own connection and to a local.
        let status = unsafe { demuxbuf_connection_describe(&self.0, &mut info) };
        assert_eq!(status, DEMUXBUF_OK);
        Facts::from(&info)
    }

    /// The connection's bytes.
    pub fn image(&self) -> [u8; size_of::<demuxbuf_connection>()] {
        // SAFETY: the struct is integers without padding, so every byte of it is initialised.
        unsafe { std::ptr::read((&raw const self.0).cast()) }
    }
}

/// A pool and its receivers, behind the pointer that C has, and bytes that were delivered, of which the last may be in
/// place.
#[derive(Debug)]
pub struct CPool(*mut demuxbuf_pool, Vec<u8>);

impl CPool {
    /// Receivers with this configuration, which is allowed.
    pub fn new(config: &PoolConfig) -> CPool {
        let mut pool = null_mut();
        // SAFETY: pointers to locals; no message is asked for.
        let status = unsafe { demuxbuf_pool_new(&c_config(config), &mut pool, null_mut(), null_mut()) };
        assert_eq!(status, DEMUXBUF_OK, "an allowed configuration");
        CPool(pool, Vec::new())
    }

    /// The pool of a thread, which is freed with this.
    pub(super) fn of_shard(pool: *mut demuxbuf_pool) -> CPool {
        CPool(pool, Vec::new())
    }

    /// The pointer that C has, valid as long as this is.
    pub fn as_ptr(&self) -> *mut demuxbuf_pool {
        self.0
    }
}

impl Drop for CPool {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and nothing else has it.
        unsafe { demuxbuf_pool_free(self.0) };
    }
}

/// Reads what C shows.
fn cells(data: *const u8, bytes: u32) -> Vec<Cell> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the library shows `bytes` bytes there until the next call, and none is made meanwhile.
    unsafe { std::slice::from_raw_parts(data, bytes as usize) }.iter().copied().map(Some).collect()
}

fn step(step: demuxbuf_step) -> Result<Step, i32> {
    let actions = mask(step.actions)?;
    if actions & (DEMUXBUF_RECV | DEMUXBUF_PEEK) != 0 {
        return Ok(Step { actions, area: step.bytes, mark: 0, data: Vec::new() });
    }
    let mark = if step.data.is_null() { step.bytes } else { 0 };
    Ok(Step { actions, area: 0, mark, data: cells(step.data, step.bytes) })
}

/// Events that C has no function for, because each is a mistake by itself.
fn refuse_for_c(pool: *mut demuxbuf_pool, it: u64, refusal: i32) -> i32 {
    // Any call shows a receiver that was evicted, also one that is refused.
    // SAFETY: as in `report`.
    let refused = step(unsafe { demuxbuf_receiver_report(pool, it, DEMUXBUF_EVENT_RECLAIM_REQUESTED, 0) });
    match refused {
        Err(DEMUXBUF_ERR_INTERNAL_EVENT) => refusal,
        Err(status) => status,
        Ok(step) => unreachable!("an event of the pool's own is accepted: {step:?}"),
    }
}

fn report(pool: *mut demuxbuf_pool, it: u64, event: Event) -> Result<Step, i32> {
    // C has no call for this alone; this is what it would be refused with.
    let refusal = match event {
        Event::NeedMore { .. } if is_closed(pool, it) => DEMUXBUF_ERR_CLOSED,
        Event::NeedMore { .. } => DEMUXBUF_ERR_ZERO_BYTES,
        _ => DEMUXBUF_ERR_INTERNAL_EVENT,
    };
    // SAFETY: the caller's pool; handles are checked by the library.
    step(unsafe {
        match event {
            Event::Readable => demuxbuf_receiver_readable(pool, it),
            Event::PeerClosed => demuxbuf_receiver_report(pool, it, DEMUXBUF_EVENT_PEER_CLOSED, 0),
            Event::KernelFull => demuxbuf_receiver_report(pool, it, DEMUXBUF_EVENT_KERNEL_FULL, 0),
            Event::Received { bytes } => demuxbuf_receiver_received(pool, it, bytes),
            Event::WouldBlock => demuxbuf_receiver_would_block(pool, it),
            Event::WouldBlockArmed => demuxbuf_receiver_would_block_armed(pool, it),
            Event::EndOfStream => demuxbuf_receiver_end_of_stream(pool, it),
            Event::TransportError => demuxbuf_receiver_transport_error(pool, it),
            Event::Consumed { bytes } => demuxbuf_receiver_decoded(pool, it, bytes, 0),
            Event::NeedMore { bytes } if bytes > 0 => demuxbuf_receiver_decoded(pool, it, 0, bytes),
            Event::Block { reasons } => demuxbuf_receiver_block(pool, it, reasons),
            Event::Unblock { reasons } => demuxbuf_receiver_unblock(pool, it, reasons),
            Event::SetBlocked { reasons } => demuxbuf_receiver_set_blocked(pool, it, reasons),
            Event::Yield => demuxbuf_receiver_report(pool, it, DEMUXBUF_EVENT_YIELD, 0),
            Event::Wake => demuxbuf_receiver_wake(pool, it),
            Event::PauseRecv => demuxbuf_receiver_pause_recv(pool, it),
            Event::ResumeRecv => demuxbuf_receiver_resume_recv(pool, it),
            Event::Fail => demuxbuf_receiver_fail(pool, it),
            Event::ReclaimRequested => demuxbuf_receiver_report(pool, it, DEMUXBUF_EVENT_RECLAIM_REQUESTED, 0),
            Event::LeaseExpired => demuxbuf_receiver_report(pool, it, DEMUXBUF_EVENT_LEASE_EXPIRED, 0),
            Event::Done(actions) => demuxbuf_receiver_done(pool, it, actions.bits()),
            Event::Close => demuxbuf_receiver_close(pool, it),
            _ => demuxbuf_step { data: null_mut(), bytes: 0, actions: refuse_for_c(pool, it, refusal) as u32 },
        }
    })
}

fn is_closed(pool: *mut demuxbuf_pool, it: u64) -> bool {
    let mut info = demuxbuf_receiver_info::default();
    // SAFETY: the caller's pool; a pointer to a local.
    let status = unsafe { demuxbuf_receiver_describe(pool, it, &mut info) };
    status == DEMUXBUF_OK && info.open == 0
}

impl System for CPool {
    const COUNTS_REFUSALS: bool = false;
    const REPORTS_USABLE: bool = false;
    const NAMES_SIZES: bool = false;

    fn attach(&mut self, with: Attach, bytes: &[u8]) -> Result<u64, i32> {
        let (mut id, policy) = (0, with.policy.map(c_policy));
        let bytes_at = if bytes.is_empty() { null() } else { bytes.as_ptr() };
        let options =
            demuxbuf_attach_options { bytes: bytes_at, length: bytes.len() as u64, ..c_options(with, policy.as_ref()) };
        // SAFETY: our own pool; pointers to live data.
        outcome(unsafe { demuxbuf_receiver_attach(self.0, &options, &mut id, null_mut(), null_mut()) })?;
        Ok(id)
    }

    fn set_class(&mut self, receiver: u64, class: u8) -> Result<(), i32> {
        // SAFETY: our own pool.
        outcome(unsafe { demuxbuf_receiver_set_class(self.0, receiver, class.into()) })
    }

    fn set_policy(&mut self, receiver: u64, policy: Policy) -> Result<Step, i32> {
        // SAFETY: our own pool; a pointer to a local.
        step(unsafe { demuxbuf_receiver_set_policy(self.0, receiver, &c_policy(policy), null_mut(), null_mut()) })
    }

    fn adopt(&mut self, with: Attach, content: Taken) -> Result<u64, i32> {
        let Taken { lease, offset, buffered_bytes } = content;
        let (content, mut id) = (demuxbuf_leased_content { lease, offset, buffered_bytes }, 0);
        let policy = with.policy.map(c_policy);
        let options = c_options(with, policy.as_ref());
        // SAFETY: our own pool; pointers to locals.
        outcome(unsafe { demuxbuf_receiver_adopt(self.0, &options, &content, &mut id, null_mut(), null_mut()) })?;
        Ok(id)
    }

    fn write(&mut self, receiver: u64, bytes: &[u8]) {
        // SAFETY: our own pool.
        let shown = unsafe { demuxbuf_receiver_pending(self.0, receiver) };
        if mask(shown.actions).is_ok_and(|actions| actions & (DEMUXBUF_RECV | DEMUXBUF_PEEK) != 0) {
            // SAFETY: with these there are `bytes` bytes to write to, until the next call.
            let area = unsafe { std::slice::from_raw_parts_mut(shown.data, shown.bytes as usize) };
            area.iter_mut().zip(bytes).for_each(|(place, &byte)| *place = byte);
        }
    }

    fn report(&mut self, receiver: u64, event: Event) -> Result<Step, i32> {
        report(self.0, receiver, event)
    }

    fn decoded(&mut self, receiver: u64, consumed: u32, need_more: u32, _usable: u32) -> Result<Step, i32> {
        // SAFETY: our own pool.
        step(unsafe { demuxbuf_receiver_decoded(self.0, receiver, consumed, need_more) })
    }

    fn deliver(&mut self, receiver: u64, bytes: &[u8]) -> Result<(u32, Step), i32> {
        let (mut copy, mut taken) = (bytes.to_vec(), u32::MAX);
        let length = copy.len() as u32;
        // SAFETY: our own pool; bytes that are kept as long as they are in place, and a pointer to a local.
        let raw = unsafe { demuxbuf_receiver_deliver(self.0, receiver, copy.as_ptr(), length, &mut taken) };
        if raw.actions & DEMUXBUF_ERROR != 0 {
            assert_eq!(taken, u32::MAX, "a call that is refused writes nothing");
        }
        let shown = step(raw)?;
        if raw.data.cast_const() == copy.as_ptr() {
            copy.truncate(taken as usize);
            self.1 = copy;
        }
        Ok((taken, shown))
    }

    fn delivered(&mut self, receiver: u64, consumed: u32, need_more: u32) -> Result<Step, i32> {
        let mut info = demuxbuf_receiver_info::default();
        // SAFETY: our own pool; a pointer to a local.
        outcome(unsafe { demuxbuf_receiver_describe(self.0, receiver, &mut info) })?;
        // If it has bytes in place, these are the last.
        let from = self.1.len().saturating_sub(info.buffered_bytes as usize);
        // SAFETY: our own pool; bytes that are kept as long as they are in place.
        step(unsafe { demuxbuf_receiver_delivered(self.0, receiver, self.1[from..].as_ptr(), consumed, need_more) })
    }

    fn pending(&mut self, receiver: u64) -> Result<Step, i32> {
        // SAFETY: our own pool.
        step(unsafe { demuxbuf_receiver_pending(self.0, receiver) })
    }

    fn take(&mut self, receiver: u64) -> Result<Taken, i32> {
        let mut content = demuxbuf_leased_content::default();
        // SAFETY: our own pool; a pointer to a local.
        outcome(unsafe { demuxbuf_receiver_take(self.0, receiver, &mut content) })?;
        Ok(Taken { lease: content.lease, offset: content.offset, buffered_bytes: content.buffered_bytes })
    }

    fn content(&mut self, lease: u64) -> Result<Vec<Cell>, i32> {
        let (mut data, mut bytes) = (null_mut(), 0);
        // SAFETY: our own pool; pointers to locals.
        outcome(unsafe { demuxbuf_pool_buffer(self.0, lease, &mut data, &mut bytes) })?;
        for address in [data, data.wrapping_add(bytes as usize - 1)] {
            let mut found = 0;
            // SAFETY: our own pool; a pointer to a local.
            let status = unsafe { demuxbuf_pool_lease_of_address(self.0, address.cast(), &mut found) };
            assert_eq!((status, found), (DEMUXBUF_OK, lease));
        }
        Ok(cells(data, bytes))
    }

    fn describe(&mut self, receiver: u64) -> Result<Info, i32> {
        let mut info = demuxbuf_receiver_info::default();
        // SAFETY: our own pool; a pointer to a local.
        outcome(unsafe { demuxbuf_receiver_describe(self.0, receiver, &mut info) })?;
        Ok(Info {
            facts: Facts::from(&info),
            token: info.token,
            class: u8::try_from(info.class_index).expect("a class below 8"),
            age_ns: info.wait_age_ns,
            awaited_bytes: info.awaited_bytes,
            shed_reason: match info.shed_reason {
                0 => None,
                DEMUXBUF_SHED_REASON_DEADLINE => Some(Reason::Deadline),
                DEMUXBUF_SHED_REASON_EVICTED => Some(Reason::Evicted),
                DEMUXBUF_SHED_REASON_MEMORY => Some(Reason::Memory),
                reason => unreachable!("no reason is {reason}"),
            },
        })
    }

    fn trim(&mut self) {
        let mut bytes = 0;
        // SAFETY: our own pool; a pointer to a local.
        assert_eq!(unsafe { demuxbuf_pool_trim(self.0, &mut bytes) }, DEMUXBUF_OK);
    }

    fn drain(&mut self) {
        // SAFETY: our own pool.
        assert_eq!(unsafe { demuxbuf_pool_drain(self.0) }, DEMUXBUF_OK);
    }

    fn set_times(&mut self, frame_grace_ns: u64, blocked_ns: u64) -> Result<(), i32> {
        // SAFETY: our own pool.
        outcome(unsafe { demuxbuf_pool_set_times(self.0, frame_grace_ns, blocked_ns, null_mut(), null_mut()) })
    }

    fn set_limit(&mut self, buffers: u64) -> Result<(), i32> {
        let stats = System::stats(self);
        let buffer_bytes = stats.memory_bytes / u64::from(stats.scheduler.capacity);
        let limit_bytes = buffers * buffer_bytes + buffer_bytes / 2;
        // SAFETY: our own pool.
        outcome(unsafe { demuxbuf_pool_set_memory_limit(self.0, limit_bytes, null_mut(), null_mut()) })
    }

    fn set_tenant(&mut self, receiver: u64, tenant: Option<u64>) -> Result<(), i32> {
        // SAFETY: our own pool.
        outcome(unsafe { demuxbuf_receiver_set_tenant(self.0, receiver, tenant.unwrap_or(0)) })
    }

    fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        let request = c_request(ask);
        let mut handle = 0;
        // The shorter of the two calls is used where it suffices.
        let is_default = ask.tenant.is_none() && !ask.has_deadline;
        // SAFETY: our own pool; pointers to locals.
        let status = unsafe {
            match is_default {
                true => demuxbuf_pool_request(self.0, ask.class.into(), ask.token, &mut handle),
                false => demuxbuf_pool_request_for(self.0, &request, &mut handle, null_mut(), null_mut()),
            }
        };
        match status {
            DEMUXBUF_OK => Ok(Asked::Lease(handle)),
            DEMUXBUF_STATUS_QUEUED => Ok(Asked::Wait(handle)),
            status => Err(status),
        }
    }

    fn try_request(&mut self, ask: Ask) -> Result<Option<u64>, i32> {
        let mut lease = 0;
        // SAFETY: our own pool; pointers to locals.
        match unsafe { demuxbuf_pool_try_request(self.0, &c_request(ask), &mut lease, null_mut(), null_mut()) } {
            DEMUXBUF_OK => Ok(Some(lease)),
            DEMUXBUF_STATUS_NONE => Ok(None),
            status => Err(status),
        }
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        // SAFETY: our own pool.
        outcome(unsafe { demuxbuf_pool_release(self.0, lease) })
    }

    fn progress(&mut self, lease: u64, _bytes: u64) -> Result<(), i32> {
        // SAFETY: our own pool.
        outcome(unsafe { demuxbuf_pool_renew_lease(self.0, lease) })
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        // SAFETY: our own pool.
        outcome(unsafe { demuxbuf_pool_cancel(self.0, wait) })
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        let mut notice = demuxbuf_notice::default();
        // SAFETY: our own pool; a pointer to a local.
        let status = unsafe { demuxbuf_pool_poll_notice(self.0, &mut notice) };
        if status == DEMUXBUF_STATUS_NONE {
            return None;
        }
        assert_eq!(status, DEMUXBUF_OK);
        let demuxbuf_notice { kind, token, receiver, lease, wait, step: shown, .. } = notice;
        Some(match kind {
            DEMUXBUF_NOTICE_RECEIVER => {
                Notice::Receiver { id: receiver, token, step: step(shown).expect("a grant carries actions") }
            }
            DEMUXBUF_NOTICE_LEASE => Notice::Lease { wait, token, lease },
            DEMUXBUF_NOTICE_OVERDUE => Notice::Overdue { token, lease },
            DEMUXBUF_NOTICE_DRAINED => Notice::Drained,
            DEMUXBUF_NOTICE_ATTACHABLE => Notice::Attachable,
            kind => unreachable!("no notice has the kind {kind}"),
        })
    }

    fn tick(&mut self, now_ns: u64) {
        // SAFETY: our own pool.
        assert_eq!(unsafe { demuxbuf_pool_handle_timeout(self.0, now_ns) }, DEMUXBUF_OK);
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        // SAFETY: our own pool.
        let ns = unsafe { demuxbuf_pool_poll_timeout(self.0) };
        Some(ns).filter(|&ns| ns != u64::MAX)
    }

    fn create_tenant(&mut self, tenant_config: TenantConfig) -> Result<u64, i32> {
        let TenantConfig { weight, guaranteed, cap } = tenant_config;
        let tenant_config =
            demuxbuf_tenant_config { struct_size: size_of::<demuxbuf_tenant_config>() as u32, weight, guaranteed, cap };
        let mut tenant = 0;
        // SAFETY: our own pool; pointers to locals.
        outcome(unsafe { demuxbuf_pool_create_tenant(self.0, &tenant_config, &mut tenant, null_mut(), null_mut()) })?;
        Ok(tenant)
    }

    fn remove_tenant(&mut self, tenant: u64) -> Result<(), i32> {
        // SAFETY: our own pool.
        outcome(unsafe { demuxbuf_pool_remove_tenant(self.0, tenant) })
    }

    fn describe_tenant(&mut self, tenant: u64) -> Result<TenantInfo, i32> {
        let mut info = demuxbuf_tenant_info::default();
        // SAFETY: our own pool; a pointer to a local.
        outcome(unsafe { demuxbuf_pool_describe_tenant(self.0, tenant, &mut info) })?;
        Ok(filled!(TenantInfo::default();
            weight: info.weight,
            outstanding_units: info.outstanding_units,
            waiting: info.waiting,
            granted: info.granted,
            is_retiring: info.retiring != 0,
        ))
    }

    fn bypass_bound(&mut self) -> u64 {
        let mut grants = 0;
        // SAFETY: our own pool; a pointer to a local.
        assert_eq!(unsafe { demuxbuf_pool_bypass_bound(self.0, &mut grants) }, DEMUXBUF_OK);
        grants
    }

    fn stats(&mut self) -> Stats {
        let mut stats = demuxbuf_pool_stats::default();
        // SAFETY: our own pool; a pointer to a local.
        assert_eq!(unsafe { demuxbuf_pool_get_stats(self.0, &mut stats) }, DEMUXBUF_OK);
        filled!(PoolStats::default();
            scheduler: filled!(SchedulerStats::default();
                capacity: stats.buffers,
                free: stats.free,
                withheld: stats.withheld,
                to_withhold: stats.to_withhold,
                leased: stats.leased,
                assigned: stats.assigned,
                waiting: stats.waiting,
                waiting_by_class: stats.waiting_by_class,
                outstanding_by_class: stats.outstanding_by_class,
                leased_peak: stats.leased_peak,
                waiting_peak: stats.waiting_peak,
                granted_at_once: stats.granted_at_once,
                granted_by_handoff: stats.granted_by_handoff,
                queued: stats.queued,
                cancelled: stats.cancelled,
                released: stats.released,
                refused: 0,
                bypass_peak: stats.bypass_peak,
                clock_backwards: stats.clock_backwards,
            ),
            clock_skipped_ns: stats.clock_skipped_ns,
            receivers: stats.receivers,
            receivers_max: stats.receivers_max,
            shed: stats.shed,
            received_bytes: stats.received_bytes,
            consumed_bytes: stats.consumed_bytes,
            dropped_bytes: stats.dropped_bytes,
            taken_bytes: stats.taken_bytes,
            memory_bytes: stats.memory_bytes,
            memory_model: filled!(MemoryModelStats::default();
                claims: stats.claims,
                grants: stats.grants,
                trials: stats.trials,
                shed_at_deadline: stats.shed_at_deadline,
                evicted: stats.evicted,
                shed_for_memory: stats.shed_for_memory,
                longest_claim_ns: stats.longest_claim_ns,
                wait_ns_max: stats.wait_ns_max,
                copied_bytes: stats.copied_bytes,
                full_kernels: stats.full_kernels,
            ),
        )
        .into()
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        // SAFETY: our own pool.
        match unsafe { demuxbuf_pool_check_invariants(self.0) } {
            DEMUXBUF_OK => Ok(()),
            status => Err(format!("demuxbuf_pool_check_invariants returns {status}")),
        }
    }
}
