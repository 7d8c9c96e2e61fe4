//! The pool with its memory, for hosts that have no allocator of their own.

use super::any_pool::AnyPool;
use super::config::{DEMUXBUF_CLASSES_MAX, Message, demuxbuf_pool_config, to_rust};
use super::receiver::demuxbuf_step;
use super::status::*;
use super::tag::{TAGS, Tag};
use super::{guarded, guarded_or};
use core::cell::Cell;
use core::ffi::c_char;
use core::fmt::{self, Write};
use demuxbuf::alloc_util::{TryArc, try_box};
use demuxbuf::pool::{ConfigError, Notice, Pool, PoolError};
use demuxbuf::scheduler::{LeaseId, Outcome, Reach, Request, SchedulerError, TenantId, WaitId};

/// A pool: buffers, parking slots, queues and the receivers that use them. Made by `demuxbuf_pool_new` for one thread at
/// a time, or by `demuxbuf_shared_pool_shard` for one of the threads that share its buffers.
#[allow(non_camel_case_types)]
pub struct demuxbuf_pool {
    inner: AnyPool,
    /// A call that only looks may find out.
    poisoned: Cell<bool>,
    /// Dropped last: until then no other pool has it.
    _tag: TryArc<Tag>,
}

/// What a pool counts. Sizes in bytes, times in nanoseconds.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct demuxbuf_pool_stats {
    /// The budget, in units: buffers, if there is one size.
    pub buffers: u32,
    /// Units nobody holds.
    pub free: u32,
    /// Buffers held.
    pub leased: u32,
    /// Buffers handed over and not picked up yet.
    pub assigned: u32,
    /// Waits queued.
    pub waiting: u32,
    /// The most buffers that were out at once; of a shared pool a number that is never too low.
    pub leased_peak: u32,
    /// The most waits that were queued at once.
    pub waiting_peak: u32,
    /// Receivers attached.
    pub receivers: u32,
    /// The most receivers that can be attached at once.
    pub receivers_max: u32,
    /// Parking slots.
    pub slots: u32,
    /// Parking slots in use.
    pub slots_in_use: u32,
    /// The most parking slots that were in use at once.
    pub slots_in_use_peak: u32,
    /// Waits queued, by class.
    pub waiting_by_class: [u32; DEMUXBUF_CLASSES_MAX],
    /// Units held or assigned, by class.
    pub outstanding_by_class: [u32; DEMUXBUF_CLASSES_MAX],
    /// Parking slots in use, by size: 64, 256, 1024 and 4096 bytes.
    pub slots_in_use_by_size: [u32; 4],
    /// Requests granted at once.
    pub granted_at_once: u64,
    /// Requests granted by hand-off.
    pub granted_by_handoff: u64,
    /// Requests that had to wait.
    pub queued: u64,
    /// Waits that were cancelled.
    pub cancelled: u64,
    /// Buffers given back.
    pub released: u64,
    /// The most grants that passed a waiter until it was served; `demuxbuf_pool_bypass_bound` is the bound.
    pub bypass_peak: u64,
    /// Times a receiver was asked to park.
    pub parks_asked: u64,
    /// Times a receiver was asked to close.
    pub sheds_asked: u64,
    /// Times a clock went backwards.
    pub clock_backwards: u64,
    /// Time that did not count, in nanoseconds: of each step of the clock what was more than an eighth of `lease_ns`.
    /// In a shared pool, of this thread's clock.
    pub clock_skipped_ns: u64,
    /// Residues moved from a buffer to a slot.
    pub parked: u64,
    /// Those of them that were moved because others waited.
    pub parked_on_demand: u64,
    /// Receivers that were told to shed.
    pub shed: u64,
    /// Contents moved to a larger buffer.
    pub grown: u64,
    /// Residues moved from a slot to a buffer.
    pub unparked: u64,
    /// Slots lent to receive without a buffer.
    pub lifelines: u64,
    /// Residues that could not be parked because no slot was free.
    pub park_refused: u64,
    /// Times a content was moved to the front of its buffer.
    pub compactions: u64,
    /// Bytes moved by that.
    pub compacted_bytes: u64,
    /// Bytes that came in: received, there at attach or adopt, or with a receiver from another thread.
    pub received_bytes: u64,
    /// Bytes the decoders took; buffered is what came in, less these three.
    pub consumed_bytes: u64,
    /// Bytes thrown away after a failure, after the end, or at close.
    pub dropped_bytes: u64,
    /// Bytes that left with a buffer the host took, or with a receiver that went to another thread.
    pub taken_bytes: u64,
    /// The most bytes of buffers and slots that can be resident, but for rounding up to pages: the budget, and once more
    /// for each further size of which a buffer is not a whole number of pages.
    pub memory_bytes: u64,
}

/// A request for a buffer of the host's own. All-zero but for `struct_size` asks for one of the default size, in nobody's
/// name, in class 0.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_request {
    /// `sizeof(demuxbuf_request)`.
    pub struct_size: u32,
    /// Its class.
    pub class_index: u32,
    /// Which of the pool's sizes; 0 is the default.
    pub size_index: u32,
    /// Comes back with the grant.
    pub token: u64,
    /// In whose name; 0 for nobody's.
    pub tenant: u64,
}

/// Something that came of others' doings: a buffer was handed over to somebody who had waited, or a receiver is to be shed.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_notice {
    /// What the host gave at attach or at request.
    pub token: u64,
    /// The receiver that got it, or is to be shed (`DEMUXBUF_SHED` in `step`); 0 if a request of the host's own was served.
    pub receiver: u64,
    /// The host's own buffer; 0 if a receiver got it.
    pub lease: u64,
    /// The host's own wait that ended; 0 if a receiver got it.
    pub wait: u64,
    /// What the receiver is to do now.
    pub step: demuxbuf_step,
}

/// Runs `body` on the receivers of a pool that is neither NULL nor poisoned.
#[inline(always)]
pub(super) fn with_pool<T>(
    pool: *mut demuxbuf_pool,
    body: impl FnOnce(&mut AnyPool) -> Result<T, i32>,
) -> Result<T, i32> {
    if cfg!(debug_assertions) {
        check_thread(pool)?;
    }
    // SAFETY: NULL or valid and not shared, as the module asks.
    let pool = unsafe { pool.as_mut() }.ok_or(DEMUXBUF_ERR_NULL)?;
    let inner = &mut pool.inner;
    unless_poisoned(&pool.poisoned, || body(inner))
}

/// As `with_pool`, for who tries another way where it gets nothing: a pool that may not be used is nothing, too.
#[inline(always)]
pub(super) fn with_sound_pool<T>(
    pool: *mut demuxbuf_pool,
    body: impl FnOnce(&mut AnyPool) -> Option<T>,
) -> Result<Option<T>, i32> {
    if cfg!(debug_assertions) && check_thread(pool).is_err() {
        return Ok(None);
    }
    // SAFETY: NULL or valid and not shared, as the module asks.
    match unsafe { pool.as_mut() } {
        Some(pool) if !pool.poisoned.get() => {
            let inner = &mut pool.inner;
            unless_poisoned(&pool.poisoned, || Ok(body(inner)))
        }
        _ => Ok(None),
    }
}

/// As `with_pool`, for calls that only look.
pub(super) fn with_pool_ref<T>(
    pool: *const demuxbuf_pool,
    body: impl FnOnce(&AnyPool) -> Result<T, i32>,
) -> Result<T, i32> {
    if cfg!(debug_assertions) {
        check_thread(pool)?;
    }
    // SAFETY: NULL or valid and not shared, as the module asks.
    let pool = unsafe { pool.as_ref() }.ok_or(DEMUXBUF_ERR_NULL)?;
    unless_poisoned(&pool.poisoned, || body(&pool.inner))
}

/// As `with_pool`, for calls that are so rare that a look at the thread costs nothing.
pub(super) fn with_own_pool<T>(
    pool: *mut demuxbuf_pool,
    body: impl FnOnce(&mut AnyPool) -> Result<T, i32>,
) -> Result<T, i32> {
    check_thread(pool)?;
    with_pool(pool, body)
}

/// Refuses a call from another thread than that which a shared pool's handle is bound to.
fn check_thread(pool: *const demuxbuf_pool) -> Result<(), i32> {
    // SAFETY: NULL or valid, as the module asks. What is read is set once, before another thread can have the pointer.
    let pool = unsafe { pool.as_ref() }.ok_or(DEMUXBUF_ERR_NULL)?;
    guarded_or(Err(DEMUXBUF_ERR_POISONED), || pool.inner.check_thread().map_err(status_of))
}

#[inline(always)]
fn unless_poisoned<T>(poisoned: &Cell<bool>, body: impl FnOnce() -> Result<T, i32>) -> Result<T, i32> {
    if poisoned.get() {
        return Err(DEMUXBUF_ERR_POISONED);
    }
    guarded(body).unwrap_or_else(|| {
        poisoned.set(true);
        Err(DEMUXBUF_ERR_POISONED)
    })
}

/// The number of a refusal.
pub(super) fn status_of(error: PoolError) -> i32 {
    match error {
        PoolError::Stale => DEMUXBUF_ERR_STALE,
        PoolError::NotLarger => DEMUXBUF_ERR_NOT_LARGER,
        PoolError::Scheduler(error) => status_of_scheduler(error),
        PoolError::AlreadyWaiting => DEMUXBUF_ERR_ALREADY_WAITING,
        PoolError::ReceiversFull { .. } => DEMUXBUF_ERR_TABLE_FULL,
        PoolError::NoBufferFree => DEMUXBUF_ERR_NO_BUFFER_FREE,
        PoolError::NoSlotFree => DEMUXBUF_ERR_NO_SLOT_FREE,
        PoolError::NoBuffer => DEMUXBUF_ERR_NO_BUFFER,
        PoolError::TooManyBytes => DEMUXBUF_ERR_TOO_MANY_BYTES,
        PoolError::InternalEvent => DEMUXBUF_ERR_INTERNAL_EVENT,
        PoolError::PoolClosed => DEMUXBUF_ERR_POOL_CLOSED,
        PoolError::WrongThread => DEMUXBUF_ERR_WRONG_THREAD,
        PoolError::NotShared => DEMUXBUF_ERR_NOT_SHARED,
        PoolError::NotMovable => DEMUXBUF_ERR_NOT_MOVABLE,
        PoolError::TenantsUnsupported => DEMUXBUF_ERR_TENANTS_UNSUPPORTED,
        PoolError::ExportsFull => DEMUXBUF_ERR_EXPORTS_FULL,
        PoolError::Event(error) => error.code(),
        // A cause without a status is a defect of the library.
        _ => DEMUXBUF_ERR_INVARIANT,
    }
}

fn status_of_scheduler(error: SchedulerError) -> i32 {
    match error {
        SchedulerError::UnknownClass { .. } => DEMUXBUF_ERR_CLASS,
        SchedulerError::UnknownSize { .. } => DEMUXBUF_ERR_SIZE,
        SchedulerError::TooLarge { .. } => DEMUXBUF_ERR_TOO_LARGE,
        SchedulerError::WaitersFull { .. } | SchedulerError::TenantsFull { .. } => DEMUXBUF_ERR_TABLE_FULL,
        SchedulerError::StaleLease | SchedulerError::StaleWait | SchedulerError::StaleTenant => DEMUXBUF_ERR_STALE,
        SchedulerError::TenantConfig { .. } => DEMUXBUF_ERR_RANGE,
        // A cause without a status is a defect of the library.
        _ => DEMUXBUF_ERR_INVARIANT,
    }
}

/// A class as C passes it, or the error for one that cannot exist.
pub(super) fn class_of(class: u32) -> Result<u8, i32> {
    u8::try_from(class).map_err(|_| DEMUXBUF_ERR_CLASS)
}

/// A size as C passes it, or the error for one that cannot exist.
pub(super) fn size_of_index(size: u32) -> Result<u8, i32> {
    u8::try_from(size).map_err(|_| DEMUXBUF_ERR_SIZE)
}

/// A tenant as C passes it: 0 for nobody.
pub(super) fn tenant_of(pool: &AnyPool, tenant: u64) -> Option<TenantId> {
    (tenant != 0).then_some(TenantId::from_bits(pool.salted(tenant)))
}

pub(super) fn status(result: Result<(), i32>) -> i32 {
    result.err().unwrap_or(DEMUXBUF_OK)
}

/// Makes a pool and reserves everything it will ever need. The host owns it and frees it with `demuxbuf_pool_free`.
///
/// If `message` is not NULL, a refused configuration writes a sentence there that names the field, its value and what
/// is allowed: at most `message_bytes` bytes with the closing 0.
/// Thread rule: any thread; the pool is then for one thread at a time.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_CONFIG`; `DEMUXBUF_ERR_NO_MEMORY`; `DEMUXBUF_ERR_TOO_MANY_POOLS`
/// (1023 are alive in the process); `DEMUXBUF_ERR_POISONED` (a defect of the library); everything is given back then and
/// `*pool` is not written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_new(
    config: *const demuxbuf_pool_config,
    pool: *mut *mut demuxbuf_pool,
    message: *mut c_char,
    message_bytes: size_t,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let (Some(config), Some(pool)) = (unsafe { config.as_ref() }, unsafe { pool.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let make = || {
        let tag = new_tag()?;
        Ok(demuxbuf_pool::new(AnyPool::Own(Pool::new(&to_rust(config, &tag)?)?), tag))
    };
    new_object(make, pool, Message::new(message, message_bytes))
}

#[allow(non_camel_case_types)]
type size_t = usize;

impl demuxbuf_pool {
    /// A pool with this tag, by which no other one goes.
    pub(super) fn new(mut pool: AnyPool, tag: TryArc<Tag>) -> demuxbuf_pool {
        pool.salt(tag.salt());
        demuxbuf_pool { inner: pool, poisoned: Cell::new(false), _tag: tag }
    }
}

/// Why an object is refused.
pub(super) enum Refusal {
    Config(ConfigError),
    NoTag,
    /// For the object itself, or what it shares.
    NoMemory,
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Refusal {
        Refusal::Config(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Config(error) => error.fmt(f),
            Refusal::NoTag => write!(f, "{TAGS} pools are alive in the process; allowed are {TAGS}"),
            Refusal::NoMemory => f.write_str("no memory for the pool itself"),
        }
    }
}

impl Refusal {
    fn status(&self) -> i32 {
        match self {
            Refusal::Config(error) if !error.is_out_of_memory() => DEMUXBUF_ERR_CONFIG,
            Refusal::NoTag => DEMUXBUF_ERR_TOO_MANY_POOLS,
            Refusal::Config(_) | Refusal::NoMemory => DEMUXBUF_ERR_NO_MEMORY,
        }
    }
}

/// A tag for a pool, and for the pools of its threads.
pub(super) fn new_tag() -> Result<TryArc<Tag>, Refusal> {
    TryArc::try_new(Tag::take().ok_or(Refusal::NoTag)?).ok_or(Refusal::NoMemory)
}

/// Makes an object for the host, or says in `text` why it is refused.
pub(super) fn new_object<T>(make: impl FnOnce() -> Result<T, Refusal>, place: &mut *mut T, mut text: Message) -> i32 {
    let made = guarded(|| {
        let object = make().and_then(|object| try_box(object).ok_or(Refusal::NoMemory));
        object.map(Box::into_raw).map_err(|refusal| {
            // A message that is cut short is still a message.
            let _ = write!(text, "{refusal}");
            refusal.status()
        })
    });
    match made {
        Some(Ok(made)) => {
            *place = made;
            DEMUXBUF_OK
        }
        Some(Err(status)) => status,
        None => DEMUXBUF_ERR_POISONED,
    }
}

/// Frees a pool, its memory and everything attached to it. NULL is harmless. Every handle and pointer of it is dead.
///
/// Of a pool of `demuxbuf_shared_pool_shard`, the buffers of the receivers go to the other threads: call
/// `demuxbuf_shared_pool_poll_wake` next. Leases of the host's own stay as they are, with their content and their
/// pointers: any thread releases or adopts them through the pool of its own. If the shared pool and the pools of all
/// other threads are freed already, the memory goes with this one, and such leases with it.
///
/// Thread rule: no other call on this pool at the same time or after; any thread. Other threads may use their own pools
/// meanwhile, and release leases that came from this one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_free(pool: *mut demuxbuf_pool) {
    guarded_or((), || {
        if !pool.is_null() {
            // SAFETY: made from a `Box`, and not freed before, as the module asks.
            drop(unsafe { Box::from_raw(pool) });
        }
    })
}

/// Asks for a buffer of the host's own (transmit, stream ...). `token` comes back with the grant.
///
/// Granted at once: `DEMUXBUF_OK` and `*handle` is the lease. Queued: `DEMUXBUF_STATUS_QUEUED` and `*handle` is the
/// wait; the lease comes from `demuxbuf_pool_poll_notice`. Thread rule: one thread at a time per pool. Cost: O(1).
/// Errors: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL` (as many of
/// the host's requests wait as `waiters_max` is above `receivers_max`); nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_request(
    pool: *mut demuxbuf_pool,
    class_index: u32,
    token: u64,
    handle: *mut u64,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(handle) = (unsafe { handle.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let asked = with_pool(pool, |pool| {
        let outcome = pool.request(class_of(class_index)?, token).map_err(status_of)?;
        Ok(outcome_of(pool, outcome))
    });
    write_outcome(asked, handle)
}

/// The status of a request that was taken, and its handle.
fn outcome_of(pool: &AnyPool, outcome: Outcome) -> (i32, u64) {
    match outcome {
        Outcome::Granted(lease) => (DEMUXBUF_OK, pool.salted(lease.to_bits())),
        Outcome::Queued(wait) => (DEMUXBUF_STATUS_QUEUED, pool.salted(wait.to_bits())),
    }
}

fn write_outcome(outcome: Result<(i32, u64), i32>, handle: &mut u64) -> i32 {
    match outcome {
        Ok((status, bits)) => {
            *handle = bits;
            status
        }
        Err(status) => status,
    }
}

/// Asks for a buffer of the host's own, of any size and in the name of any tenant. Else as `demuxbuf_pool_request`.
///
/// Thread rule: one thread at a time per pool. Cost: O(1).
/// Returns `DEMUXBUF_OK` or `DEMUXBUF_STATUS_QUEUED`, and writes `*handle`. Errors: `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CONFIG` (a wrong `struct_size`), `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_SIZE`,
/// `DEMUXBUF_ERR_STALE` (the tenant), `DEMUXBUF_ERR_TENANTS_UNSUPPORTED` (a tenant of a shared pool), `DEMUXBUF_ERR_TOO_LARGE` (it could never be granted), `DEMUXBUF_ERR_TABLE_FULL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_request_for(
    pool: *mut demuxbuf_pool,
    request: *const demuxbuf_request,
    handle: *mut u64,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let (Some(request), Some(handle)) = (unsafe { request.as_ref() }, unsafe { handle.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    if request.struct_size as usize != size_of::<demuxbuf_request>() {
        return DEMUXBUF_ERR_CONFIG;
    }
    let outcome = with_pool(pool, |pool| {
        let (class, size) = (class_of(request.class_index)?, size_of_index(request.size_index)?);
        let tenant = tenant_of(pool, request.tenant);
        let request = Request { tenant, size_index: size, ..Request::new(class, request.token) };
        let outcome = pool.request_for(&request).map_err(status_of)?;
        Ok(outcome_of(pool, outcome))
    });
    write_outcome(outcome, handle)
}

/// Gives back a buffer of the host's own; the next waiter has it in the same step. It may come from any pool of the same
/// `demuxbuf_shared_pool`, also from one that was freed.
///
/// Thread rule: one thread at a time per pool. Of several threads that release or adopt one lease at once, one succeeds.
/// Cost: O(1).
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (given back already, of
/// another pool, or a receiver's).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_release(pool: *mut demuxbuf_pool, lease: u64) -> i32 {
    status(with_pool(pool, |pool| {
        let lease = LeaseId::from_bits(pool.salted(lease));
        pool.release_within(lease, Reach::Anywhere).map_err(status_of)
    }))
}

/// Ends a wait of the host's own; a buffer assigned to it goes to the next waiter in the same step.
///
/// Thread rule: one thread at a time per pool. Cost: O(1).
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (granted or cancelled
/// already, of another pool, or a receiver's).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_cancel(pool: *mut demuxbuf_pool, wait: u64) -> i32 {
    status(with_pool(pool, |pool| pool.cancel(WaitId::from_bits(pool.salted(wait))).map_err(status_of)))
}

/// The memory of a buffer of the host's own: `*data` is valid until the lease ends, `*bytes` is its size. The lease may come
/// from any pool of the same `demuxbuf_shared_pool`, also from one that was freed.
///
/// Thread rule: one thread at a time per pool, and one thread at a time per buffer.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_buffer(
    pool: *mut demuxbuf_pool,
    lease: u64,
    data: *mut *mut u8,
    bytes: *mut u32,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let (Some(data), Some(bytes)) = (unsafe { data.as_mut() }, unsafe { bytes.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let found = with_pool_ref(pool, |pool| {
        let lease = LeaseId::from_bits(pool.salted(lease));
        pool.buffer_area(lease).map_err(status_of)
    });
    match found {
        Ok((at, length)) => {
            (*data, *bytes) = (at.as_ptr(), length);
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

/// The next one who had waited and now has a buffer; then the next receiver that is to be shed, so that somebody who
/// waits may have its buffer. Call it until it returns `DEMUXBUF_STATUS_NONE`, in each turn of the
/// loop; nobody is called back.
///
/// It may move what any receiver of the pool has buffered, also of one that it does not name: do what `grant->step` says
/// before the next call, and keep no `data` of an earlier step (`demuxbuf_step`).
///
/// On a shared pool, a thread that does not call it within `lease_ns` after a buffer was assigned to one of its requests
/// loses that buffer to others that wait. Its requests queue again.
///
/// Thread rule: one thread at a time per pool. Cost: O(1).
/// Returns `DEMUXBUF_OK` and writes `*notice`; `DEMUXBUF_STATUS_NONE`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_poll_notice(pool: *mut demuxbuf_pool, notice: *mut demuxbuf_notice) -> i32 {
    let nothing_to_poll = with_sound_pool(pool, |pool| pool.nothing_to_poll().then_some(()));
    if nothing_to_poll == Ok(Some(())) && !notice.is_null() { DEMUXBUF_STATUS_NONE } else { poll_notice(pool, notice) }
}

#[inline(never)]
fn poll_notice(pool: *mut demuxbuf_pool, notice: *mut demuxbuf_notice) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(notice) = (unsafe { notice.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let polled = with_pool(pool, |pool| {
        let Some(granted) = pool.poll_notice() else {
            return Ok(None);
        };
        Ok(Some(match granted {
            Notice::Receiver { id, token, actions } => {
                let index = pool.find(id).expect("a receiver that was granted something is attached");
                demuxbuf_notice {
                    token,
                    receiver: id.to_bits(),
                    lease: 0,
                    wait: 0,
                    step: demuxbuf_step::of(pool, index, actions),
                }
            }
            Notice::Lease { wait, token, lease } => demuxbuf_notice {
                token,
                receiver: 0,
                lease: pool.salted(lease.to_bits()),
                wait: pool.salted(wait.to_bits()),
                step: demuxbuf_step::status(DEMUXBUF_OK),
            },
            notice => unreachable!("the C API has no form of {notice:?}"),
        }))
    });
    match polled {
        Ok(Some(granted)) => {
            *notice = granted;
            DEMUXBUF_OK
        }
        Ok(None) => DEMUXBUF_STATUS_NONE,
        Err(status) => status,
    }
}

/// Advances the pool's clock to this time, in monotonic nanoseconds; once in each turn of the loop, before the events.
/// The first call is the origin: what began before it has its time counted from there. One call is worth at most an eighth
/// of `lease_ns`, the rest does not count (`clock_skipped_ns`): a pause of the process makes no receiver look idle. A time
/// before the last one is counted and not taken. Early and repeated calls are harmless.
///
/// Thread rule: one thread at a time per pool. Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_handle_timeout(pool: *mut demuxbuf_pool, now_ns: u64) -> i32 {
    status(with_own_pool(pool, |pool| {
        pool.handle_timeout(now_ns);
        Ok(())
    }))
}

/// When `demuxbuf_pool_handle_timeout` is to be called at the latest, in nanoseconds; UINT64_MAX for never, and for
/// NULL or a poisoned pool. While a deadline runs it is at most an eighth of `lease_ns` after the last call, so that the
/// clock follows real time; a time that is not after the last call is for at once. Thread rule: one thread at a time per pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_poll_timeout(pool: *const demuxbuf_pool) -> u64 {
    with_pool_ref(pool, |pool| Ok(pool.poll_timeout())).unwrap_or(u64::MAX)
}

/// The published bound: the most grants that pass a waiter of this class before it is served.
///
/// Thread rule: one thread at a time per pool. Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CLASS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_bypass_bound(
    pool: *const demuxbuf_pool,
    class_index: u32,
    grants: *mut u64,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(grants) = (unsafe { grants.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(with_pool_ref(pool, |pool| {
        pool.check_class(class_of(class_index)?).map_err(status_of)?;
        *grants = pool.bypass_bound();
        Ok(())
    }))
}

/// Gives the pages of free buffers that were used since the last call back to the operating system and writes how many
/// bytes. A page of which a buffer in use has a part stays. For quiet times: it looks at each buffer, and costs a system
/// call for each piece of such pages. Other threads of a shared pool wait for the pages of at most 16 buffers, and of at
/// most 1 MiB if that is more than one buffer.
///
/// Thread rule: one thread at a time per pool. Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_trim(pool: *mut demuxbuf_pool, bytes: *mut u64) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(bytes) = (unsafe { bytes.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(with_pool(pool, |pool| {
        *bytes = pool.trim() as u64;
        Ok(())
    }))
}

/// Writes everything there is to print about a pool. Needs no buffer, lock or allocation.
///
/// Thread rule: one thread at a time per pool. Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_get_stats(pool: *const demuxbuf_pool, stats: *mut demuxbuf_pool_stats) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(stats) = (unsafe { stats.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(with_pool_ref(pool, |pool| {
        *stats = demuxbuf_pool_stats::of(pool);
        Ok(())
    }))
}

impl demuxbuf_pool_stats {
    fn of(pool: &AnyPool) -> demuxbuf_pool_stats {
        let stats = pool.stats();
        demuxbuf_pool_stats {
            buffers: stats.scheduler.capacity,
            free: stats.scheduler.free,
            leased: stats.scheduler.leased,
            assigned: stats.scheduler.assigned,
            waiting: stats.scheduler.waiting,
            leased_peak: stats.scheduler.leased_peak,
            waiting_peak: stats.scheduler.waiting_peak,
            receivers: stats.receivers,
            receivers_max: stats.receivers_max,
            slots: stats.slots,
            slots_in_use: stats.slots_in_use,
            slots_in_use_peak: stats.slots_in_use_peak,
            waiting_by_class: stats.scheduler.waiting_by_class,
            outstanding_by_class: stats.scheduler.outstanding_by_class,
            slots_in_use_by_size: stats.slots_in_use_by_size,
            granted_at_once: stats.scheduler.granted_at_once,
            granted_by_handoff: stats.scheduler.granted_by_handoff,
            queued: stats.scheduler.queued,
            cancelled: stats.scheduler.cancelled,
            released: stats.scheduler.released,
            bypass_peak: stats.scheduler.bypass_peak,
            parks_asked: stats.scheduler.parks_asked,
            sheds_asked: stats.scheduler.sheds_asked,
            clock_backwards: stats.scheduler.clock_backwards,
            clock_skipped_ns: stats.scheduler.clock_skipped_ns,
            parked: stats.parked,
            parked_on_demand: stats.parked_on_demand,
            shed: stats.shed,
            grown: stats.grown,
            unparked: stats.unparked,
            lifelines: stats.lifelines,
            park_refused: stats.park_refused,
            compactions: stats.compactions,
            compacted_bytes: stats.compacted_bytes,
            received_bytes: stats.received_bytes,
            consumed_bytes: stats.consumed_bytes,
            dropped_bytes: stats.dropped_bytes,
            taken_bytes: stats.taken_bytes,
            memory_bytes: stats.memory_bytes,
        }
    }
}

/// Checks everything that must always hold, walking all tables: for tests, not for the receive path.
///
/// Thread rule: one thread at a time per pool. Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_INVARIANT` (a defect of the library).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_check_invariants(pool: *const demuxbuf_pool) -> i32 {
    status(with_pool_ref(pool, |pool| pool.check_invariants().map_err(|_| DEMUXBUF_ERR_INVARIANT)))
}

#[cfg(test)]
mod tests {
    use super::super::receiver::demuxbuf_receiver_readable;
    use super::*;
    use demuxbuf::connection::EventError;
    use demuxbuf::pool::PoolConfig;

    #[test]
    fn a_panic_poisons_the_pool_and_it_can_still_be_freed() {
        let pool = Pool::new(&PoolConfig::new(1, 1)).expect("the defaults are allowed");
        let pool =
            Box::into_raw(Box::new(demuxbuf_pool::new(AnyPool::Own(pool), new_tag().ok().expect("there is a tag"))));
        assert_eq!(
            with_sound_pool(pool, |_| -> Option<()> { panic!("caught by the guard") }),
            Err(DEMUXBUF_ERR_POISONED)
        );
        assert_eq!(with_sound_pool(pool, |_| Some(())), Ok(None), "the slow path says why");
        assert_eq!(with_pool(pool, |_| Ok(())), Err(DEMUXBUF_ERR_POISONED));
        // SAFETY: the pointer is the pool made above.
        unsafe {
            assert_eq!(demuxbuf_pool_handle_timeout(pool, 1), DEMUXBUF_ERR_POISONED);
            // These look for a fast path first.
            let mut notice = core::mem::zeroed();
            assert_eq!(demuxbuf_pool_poll_notice(pool, &mut notice), DEMUXBUF_ERR_POISONED);
            let step = demuxbuf_receiver_readable(pool, 0);
            assert_eq!((step.actions, step.bytes, step.data.is_null()), (DEMUXBUF_ERR_POISONED as u32, 0, true));
            demuxbuf_pool_free(pool);
        }
    }

    /// Each cause that the library can name has its status, and none is taken for a defect of the library.
    #[test]
    fn status_of_names_each_cause() {
        let stale = [SchedulerError::StaleLease, SchedulerError::StaleWait, SchedulerError::StaleTenant];
        for error in stale {
            assert_eq!(status_of(error.into()), DEMUXBUF_ERR_STALE);
        }
        let tenant = SchedulerError::TenantConfig { field: "weight", value: 0, min: 1, max: 5 };
        for (error, status) in [
            (PoolError::Stale, DEMUXBUF_ERR_STALE),
            (SchedulerError::UnknownClass { class: 1, classes: 1 }.into(), DEMUXBUF_ERR_CLASS),
            (SchedulerError::UnknownSize { size_index: 1 }.into(), DEMUXBUF_ERR_SIZE),
            (SchedulerError::TooLarge { units: 2 }.into(), DEMUXBUF_ERR_TOO_LARGE),
            (SchedulerError::WaitersFull { waiters_max: 1 }.into(), DEMUXBUF_ERR_TABLE_FULL),
            (SchedulerError::TenantsFull { tenants_max: 1 }.into(), DEMUXBUF_ERR_TABLE_FULL),
            (tenant.into(), DEMUXBUF_ERR_RANGE),
            (EventError::AfterEnd.into(), DEMUXBUF_ERR_AFTER_END),
            (PoolError::NotLarger, DEMUXBUF_ERR_NOT_LARGER),
            (PoolError::AlreadyWaiting, DEMUXBUF_ERR_ALREADY_WAITING),
            (PoolError::ReceiversFull { receivers_max: 1 }, DEMUXBUF_ERR_TABLE_FULL),
            (PoolError::NoBufferFree, DEMUXBUF_ERR_NO_BUFFER_FREE),
            (PoolError::NoSlotFree, DEMUXBUF_ERR_NO_SLOT_FREE),
            (PoolError::NoBuffer, DEMUXBUF_ERR_NO_BUFFER),
            (PoolError::TooManyBytes, DEMUXBUF_ERR_TOO_MANY_BYTES),
            (PoolError::InternalEvent, DEMUXBUF_ERR_INTERNAL_EVENT),
            (PoolError::PoolClosed, DEMUXBUF_ERR_POOL_CLOSED),
            (PoolError::WrongThread, DEMUXBUF_ERR_WRONG_THREAD),
            (PoolError::NotShared, DEMUXBUF_ERR_NOT_SHARED),
            (PoolError::NotMovable, DEMUXBUF_ERR_NOT_MOVABLE),
            (PoolError::TenantsUnsupported, DEMUXBUF_ERR_TENANTS_UNSUPPORTED),
            (PoolError::ExportsFull, DEMUXBUF_ERR_EXPORTS_FULL),
        ] {
            assert_eq!(status_of(error), status, "{error}");
        }
    }
}
