//! Allocations: everything at the start, or a clear error and nothing; afterwards never again.
#![allow(unsafe_code, reason = "an allocator is unsafe to write, and the C functions to call")]

use demuxbuf::connection::{Action, Actions, Connection, Event, Mode, Policy};
use demuxbuf::framing::h2::{Decoder, PREFACE, Side};
use demuxbuf::pool::{AttachOptions, BufferSource, LeasedContent, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{Outcome, Request, Scheduler, SchedulerConfig};
use demuxbuf::shared::{SharedPool, SharedScheduler};
use demuxbuf_capi::*;
use demuxbuf_testkit::Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts for each thread and fails on demand.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
    /// Allocations that still succeed; the next one, or all that follow, fail.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    static FAILS_FOR_EVER: Cell<bool> = const { Cell::new(false) };
    static FAILED: Cell<u64> = const { Cell::new(0) };
}

impl Counting {
    fn allows(&self) -> bool {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        match LEFT.get() {
            None => true,
            Some(0) => {
                LEFT.set(FAILS_FOR_EVER.get().then_some(0));
                FAILED.set(FAILED.get() + 1);
                false
            }
            Some(left) => {
                LEFT.set(Some(left - 1));
                true
            }
        }
    }

    fn counted(&self, at: *mut u8, grown: usize, shrunk: usize) -> *mut u8 {
        if !at.is_null() {
            LIVE_BYTES.set(LIVE_BYTES.get() + grown as i64 - shrunk as i64);
        }
        at
    }
}

// SAFETY: everything is passed on to the system's allocator; a refusal is a null pointer, as the trait allows.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.allows() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is passed on.
        self.counted(unsafe { System.alloc(layout) }, layout.size(), 0)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.allows() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is passed on.
        self.counted(unsafe { System.alloc_zeroed(layout) }, layout.size(), 0)
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if !self.allows() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is passed on.
        self.counted(unsafe { System.realloc(at, layout, bytes) }, bytes, layout.size())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.set(LIVE_BYTES.get() - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs `call` with the allocation number `succeed` failing, alone or with all after it; returns whether one failed.
fn with_failure<T>(succeed: u64, for_ever: bool, call: impl FnOnce() -> T) -> (T, bool) {
    FAILED.set(0);
    FAILS_FOR_EVER.set(for_ever);
    LEFT.set(Some(succeed));
    let result = call();
    LEFT.set(None);
    (result, FAILED.get() > 0)
}

/// Fails each allocation of `make` in turn. Each time the error must name one of these fields, and each field must be
/// named by some failure; nothing may stay allocated, not after a failure and not after what was made is dropped.
fn each_allocation_fails_in_turn<T, E: std::fmt::Display>(fields: &[&str], make: impl Fn() -> Result<T, E>) {
    for for_ever in [false, true] {
        let mut named = Vec::new();
        for succeed in 0.. {
            let live = LIVE_BYTES.get();
            let (made, failed) = with_failure(succeed, for_ever, &make);
            match made {
                Ok(made) => {
                    assert!(!failed, "a failed allocation is an error");
                    assert!(LIVE_BYTES.get() > live, "everything is reserved at the start");
                    drop(made);
                    assert_eq!(LIVE_BYTES.get(), live, "a drop frees every byte");
                    break;
                }
                Err(error) => {
                    assert!(failed, "only a failed allocation is an error here: {error}");
                    assert_eq!(LIVE_BYTES.get(), live, "a half-made object frees every byte: {error}");
                    named.push(error.to_string());
                }
            }
        }
        let field_of = |message: &String| fields.iter().position(|field| message.starts_with(field));
        let missed = named.iter().find(|message| field_of(message).is_none());
        assert_eq!(missed, None, "every error names a field");
        for (index, field) in fields.iter().enumerate() {
            assert!(named.iter().any(|message| field_of(message) == Some(index)), "{field} is named: {named:?}");
        }
    }
}

/// Eight buffers of 256 bytes for 12 receivers, and 3 waits of the host's own.
fn config(mode: Mode) -> PoolConfig {
    let policy = Policy { mode, ..Policy::default() };
    PoolConfig { buffer_bytes: 256, waiters_max: 3, policy, ..PoolConfig::new(8 * 256, 12) }
}

#[test]
fn s50_failed_allocation_at_start_is_a_clear_error() {
    let scheduler =
        SchedulerConfig { tenants_max: 3, lease_ns: Some(1), park_ns: Some(1), ..SchedulerConfig::new(5, 7) };
    each_allocation_fails_in_turn(&["buffers:", "waiters_max:", "tenants_max:"], || Scheduler::new(&scheduler));
    let fields = ["buffers:", "waiters_max:", "tenants_max:", "memory_bytes:", "receivers_max:"];
    each_allocation_fails_in_turn(&fields, || Pool::new(&timed_config()));
}

/// With deadlines of the host's own leases.
fn timed_config() -> PoolConfig {
    PoolConfig { lease_ns: Some(8), ..config(Mode::Level) }
}

#[test]
fn s50_failed_allocation_of_a_shared_pool() {
    let scheduler = SchedulerConfig { lease_ns: Some(1), park_ns: Some(1), ..SchedulerConfig::new(5, 7) };
    each_allocation_fails_in_turn(&["buffers:", "waiters_max:", "tenants_max:", "shards:"], || {
        SharedScheduler::new(&scheduler, 3)
    });
    let config = PoolConfig { memory_bytes: 3 * 8 * 256, ..timed_config() };
    let fields = ["buffers:", "waiters_max:", "tenants_max:", "shards:", "receivers_max:"];
    each_allocation_fails_in_turn(&fields, || SharedPool::new(&config, 3));
    let shared_pool = SharedPool::new(&config, 3).expect("the configuration is allowed");
    // Each failure leaves the thread without its receivers, so that it can ask again.
    let fields = ["shards:", "buffers:", "memory_bytes:", "receivers_max:", "tenants_max:"];
    each_allocation_fails_in_turn(&fields, || shared_pool.shard(1));
}

type Sentence = [u8; 80];

/// As `each_allocation_fails_in_turn`, for a call that makes a `T` for C and names the cause of a failure in a
/// sentence.
fn each_fails_in_turn_for_c<T>(make: impl Fn(&mut *mut T, &mut Sentence) -> i32, free: unsafe extern "C" fn(*mut T)) {
    for for_ever in [false, true] {
        let live = LIVE_BYTES.get();
        let nothing = std::ptr::dangling_mut();
        for succeed in 0.. {
            let (mut made, mut message) = (nothing, [0; 80]);
            let (status, failed) = with_failure(succeed, for_ever, || make(&mut made, &mut message));
            if status == DEMUXBUF_OK {
                assert!(!failed && succeed > 5);
                // SAFETY: made above, freed once.
                unsafe { free(made) };
                assert_eq!(LIVE_BYTES.get(), live, "a free call frees every byte");
                break;
            }
            assert!(failed);
            assert_eq!((status, made), (DEMUXBUF_ERR_NO_MEMORY, nothing), "nothing is written");
            assert_eq!(LIVE_BYTES.get(), live, "every byte is freed");
            let text = std::ffi::CStr::from_bytes_until_nul(&message).expect("a closing 0").to_string_lossy();
            let fields = ["memory_bytes", "buffers", "waiters_max", "tenants_max", "receivers_max", "shards", "itself"];
            let named = fields.iter().any(|name| text.contains(name));
            assert!(named && text.contains("no memory"), "{text}");
        }
    }
}

#[test]
fn s50_failed_allocation_through_c() {
    // SAFETY: every pointer is to a live local.
    let config = unsafe {
        let mut config = demuxbuf_pool_config::default();
        assert_eq!(demuxbuf_pool_config_init(&mut config, 1 << 20, 8), DEMUXBUF_OK);
        config
    };
    let new = |pool: &mut *mut demuxbuf_pool, message: &mut Sentence| {
        // SAFETY: as above.
        unsafe { demuxbuf_pool_new(&config, pool, message.as_mut_ptr().cast(), &mut message.len()) }
    };
    each_fails_in_turn_for_c(new, demuxbuf_pool_free);
    let new = |shards: &mut *mut demuxbuf_shared_pool, message: &mut Sentence| {
        // SAFETY: as above.
        unsafe { demuxbuf_shared_pool_new(&config, 2, shards, message.as_mut_ptr().cast(), &mut message.len()) }
    };
    each_fails_in_turn_for_c(new, demuxbuf_shared_pool_free);
    let mut shards = std::ptr::null_mut();
    assert_eq!(new(&mut shards, &mut [0; 80]), DEMUXBUF_OK);
    let thread = |pool: &mut *mut demuxbuf_pool, message: &mut Sentence| {
        // This call has no sentence, only its status.
        message[..17].copy_from_slice(b"no memory: shards");
        // SAFETY: as above.
        unsafe { demuxbuf_shared_pool_shard(shards, 1, pool) }
    };
    each_fails_in_turn_for_c(thread, demuxbuf_pool_free);
    // SAFETY: made above, freed once.
    unsafe { demuxbuf_shared_pool_free(shards) };
}

/// Runs one call of the library and counts: it must not allocate.
fn unallocating<T>(call: impl FnOnce() -> T) -> T {
    let before = (ALLOCATIONS.get(), LIVE_BYTES.get());
    let result = call();
    assert_eq!((ALLOCATIONS.get(), LIVE_BYTES.get()), before, "no event allocates, and none frees");
    result
}

/// Any event, sensible or not.
fn any_event(rng: &mut Rng) -> Event {
    let bytes = rng.u32(..40);
    let reasons = rng.u32(..3);
    match rng.u32(..25) {
        0..=5 => Event::Readable,
        6 => [Event::WouldBlock, Event::WouldBlockArmed][rng.usize(..2)],
        7 if rng.u32(..20) == 0 => Event::EndOfStream,
        8 if rng.u32(..20) == 0 => Event::TransportError,
        9 | 10 => Event::Consumed { bytes },
        11 => Event::NeedMore { bytes },
        12 => Event::Block { reasons },
        13 | 14 => Event::Unblock { reasons },
        15 => Event::Yield,
        16 => Event::PauseRecv,
        17 => Event::ResumeRecv,
        18 if rng.u32(..20) == 0 => Event::Fail,
        19 => Event::ReclaimRequested,
        20 => Event::LeaseExpired,
        21 if rng.u32(..20) == 0 => Event::Close,
        22 => Event::Received { bytes },
        23 => Event::SetBlocked { reasons },
        _ => Event::Wake,
    }
}

/// The receivers under test, and what the host has in its hands.
struct Busy {
    pool: Pool,
    ids: Vec<ReceiverId>,
    host: Vec<Outcome>,
    now_ns: u64,
    rng: Rng,
}

impl Busy {
    /// One call of any kind.
    fn step(&mut self) {
        let Busy { pool, ids, host, rng, .. } = self;
        let id = ids[rng.usize(..ids.len())];
        match rng.u32(..12) {
            0 => self.replace(id),
            1 if host.len() < 7 => {
                let asked = unallocating(|| pool.request(0, 99));
                host.extend(asked);
            }
            2 => match host.pop() {
                Some(Outcome::Granted(lease)) => {
                    assert!(unallocating(|| pool.buffer(lease)).is_ok());
                    assert_eq!(unallocating(|| pool.release(lease)), Ok(()));
                    assert!(unallocating(|| pool.release(lease)).is_err());
                }
                Some(Outcome::Queued(wait)) => assert_eq!(unallocating(|| pool.cancel(wait)), Ok(())),
                None => {}
            },
            3 => {
                if let Ok(LeasedContent { lease, .. }) = unallocating(|| pool.take(id)) {
                    host.push(Outcome::Granted(lease));
                }
            }
            4 => {
                let (consumed, need_more) = (rng.u32(..30), rng.u32(..60));
                let _ = unallocating(|| pool.decoded(id, consumed, need_more));
            }
            5..=8 => self.receive(id),
            _ => {
                let event = any_event(rng);
                let answer = unallocating(|| pool.handle(id, event));
                if event == Event::Close && answer.is_ok() {
                    self.replace(id);
                }
            }
        }
        self.look();
    }

    /// Another connection in place of this one, sometimes with bytes that are there already.
    fn replace(&mut self, id: ReceiverId) {
        let Busy { pool, ids, rng, .. } = self;
        let at = ids.iter().position(|&known| known == id).expect("the handle is one of ours");
        let _ = unallocating(|| pool.handle(id, Event::Close));
        let bytes = [7; 100];
        let there = rng.usize(..100);
        let attached = unallocating(|| pool.attach_with(&AttachOptions::new(0, at as u64), &bytes[..there]));
        ids[at] = attached.unwrap_or_else(|_| {
            unallocating(|| pool.attach(&AttachOptions::new(0, at as u64))).expect("its row of the table is free")
        });
    }

    /// Does what is acknowledged, and receives if there is room.
    fn receive(&mut self, id: ReceiverId) {
        let Busy { pool, rng, .. } = self;
        let Ok(actions) = unallocating(|| pool.pending(id)) else { return };
        let notices = actions.intersection(Actions::ACKNOWLEDGED);
        let _ = unallocating(|| pool.handle(id, Event::done(notices)));
        let room = unallocating(|| pool.receive_area(id).map(|area| area.len())).unwrap_or(0);
        if room > 0 {
            let bytes = rng.u32(1..=room as u32);
            assert!(unallocating(|| pool.handle(id, Event::Received { bytes })).is_ok());
        }
        let _ = unallocating(|| pool.data(id).map(<[u8]>::len));
    }

    /// Picks up grants, closes what is to be shed, and asks everything there is to ask.
    fn look(&mut self) {
        let Busy { pool, host, .. } = self;
        while let Some(granted) = unallocating(|| pool.poll_notice()) {
            if let Notice::Lease { wait, lease, .. } = granted {
                let waiting = host.iter().position(|&asked| asked == Outcome::Queued(wait));
                host[waiting.expect("the host asked")] = Outcome::Granted(lease);
            }
        }
        self.now_ns += self.rng.u64(..100_000_000);
        let now_ns = self.now_ns;
        unallocating(|| pool.handle_timeout(now_ns));
        let shed = unallocating(|| self.ids.iter().copied().find(|&id| is_over(pool, id)));
        if let Some(id) = shed {
            self.replace(id);
        }
        let Busy { pool, .. } = self;
        let _ = unallocating(|| pool.describe(self.ids[0]));
        unallocating(|| pool.check_invariants()).expect("the invariants hold");
    }
}

fn is_over(pool: &Pool, id: ReceiverId) -> bool {
    pool.pending(id).is_ok_and(|actions| actions.has(Action::Shed) || actions.has(Action::CannotFit))
}

#[test]
fn pool_allocates_nothing_after_the_start() {
    for mode in Mode::ALL {
        let before = LIVE_BYTES.get();
        let pool = Pool::new(&config(mode)).expect("the configuration is allowed");
        let reserved = LIVE_BYTES.get() - before;
        let mut busy = Busy {
            pool,
            ids: Vec::with_capacity(12),
            host: Vec::with_capacity(16),
            now_ns: 0,
            rng: Rng::with_seed(mode as u64),
        };
        for at in 0..12 {
            busy.ids.push(unallocating(|| busy.pool.attach(&AttachOptions::new(0, at))).expect("the table has room"));
        }
        for _ in 0..30_000 {
            busy.step();
        }
        unallocating(|| busy.pool.trim());

        let (stats, totals) = unallocating(|| (busy.pool.stats(), busy.pool.totals()));
        let all = [totals.claims, totals.grants, totals.trials, totals.evicted];
        assert!(all.iter().all(|&times| times > 20) && totals.copied_bytes > 10_000, "it was busy: {totals:?}");
        let handed_off = stats.scheduler.granted_by_handoff;
        assert!(handed_off > 20 && stats.scheduler.cancelled > 20, "{stats:?}");
        assert!(stats.dropped_bytes > 0 && stats.taken_bytes > 0);

        // The memory bound: received bytes are held by the pool, and 32 bytes for each connection.
        assert_eq!(stats.memory_bytes, 8 * 256);
        assert!(size_of::<Connection>() <= 32);
        assert!(reserved as u64 >= stats.memory_bytes);
        drop(busy);
        assert_eq!(LIVE_BYTES.get(), before);
    }
}

/// However often receivers move between threads: what they kept and waited for leaves no row behind.
#[test]
fn moves_between_threads_allocate_nothing() {
    let config = PoolConfig { memory_bytes: 2 * 8 * 256, receivers_max: 4, ..config(Mode::Level) };
    let shared_pool = SharedPool::new(&config, 2).expect("the configuration is allowed");
    let mut both = [0, 1].map(|index| shared_pool.shard(index).expect("it is free"));
    // The first one keeps content that moves with a buffer, the second one some that moves without, and the third one
    // nothing.
    let mut ids = [200, 20, 0].map(|bytes| {
        let id = both[0].attach(&AttachOptions::new(0, 0)).expect("there is room");
        both[0].handle(id, Event::Readable).expect("it is attached");
        if bytes > 0 {
            both[0].handle(id, Event::Received { bytes }).expect("there is room");
            both[0].decoded(id, 0, 30).expect("it is to be decoded");
        }
        id
    });
    for round in 0..40 {
        let [from, to] = &mut both;
        ids = unallocating(|| {
            ids.map(|id| {
                let mut exported = from.export(id).expect("it can move");
                to.import(&mut exported).expect("it was exported")
            })
        });
        both.reverse();
        assert!(both.iter().all(|pool| pool.check_invariants() == Ok(())), "round {round}");
    }
    assert_eq!(both.map(|pool| pool.stats().receivers), [3, 0]);
}

/// Deadlines of leases begin, pass and end, on a pool of one thread and on that of a thread.
#[test]
fn deadlines_of_leases_allocate_nothing() {
    fn play<S: BufferSource>(pool: &mut Pool<S>, round: u64) -> usize {
        pool.handle_timeout(100 * round);
        let request = Request { has_deadline: true, ..Request::new(0, round) };
        let mut leases = [None; 16];
        for lease in &mut leases {
            *lease = pool.try_request(&request).expect("it is allowed");
        }
        pool.request_for(&request).expect("a wait is left");
        (1..9).for_each(|step| pool.handle_timeout(100 * round + step));
        let mut overdue = 0;
        while let Some(notice) = pool.poll_notice() {
            overdue += usize::from(matches!(notice, Notice::Overdue { .. }));
        }
        for lease in leases.into_iter().flatten() {
            pool.renew_lease(lease).expect("it has a deadline");
            pool.release(lease).expect("it is the host's");
        }
        while let Some(notice) = pool.poll_notice() {
            if let Notice::Lease { lease, .. } = notice {
                pool.release(lease).expect("it is the host's");
            }
        }
        overdue
    }
    let mut pool = Pool::new(&timed_config()).expect("the configuration is allowed");
    let shared_pool = SharedPool::new(&timed_config(), 1).expect("the configuration is allowed");
    let mut shard = shared_pool.shard(0).expect("it is free");
    for round in 0..40 {
        let overdue = unallocating(|| [play(&mut pool, round), play(&mut shard, round)]);
        assert!(overdue.iter().all(|&leases| leases >= 4), "{overdue:?} in round {round}");
    }
}

/// The published figures: the bytes of one more of each part, in all tables. What a receiver has beside its two rows is
/// reserved, and not resident before it borrows, keeps or waits.
#[test]
fn memory_per_part_is_as_published() {
    const MORE: u32 = 64_000;
    let reserved = |config: &PoolConfig| {
        let before = LIVE_BYTES.get();
        let pool = Pool::new(config).expect("the configuration is allowed");
        (LIVE_BYTES.get() - before, pool.stats().memory_bytes)
    };
    // As many receivers as there are cells in an eighth of memory already, so that the split stays.
    let few = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 4) };
    let mut many = [few; 3];
    many[0].receivers_max += MORE;
    many[1].waiters_max += MORE;
    many[2].memory_bytes += 256 * u64::from(MORE);
    // A receiver: a row of 48 bytes, one of 12, and what is reserved beside (of which counting has 8 bytes to keep and
    // a place of 16 among those that wait under a mark); a wait; a buffer, here of 256 bytes, with 88 beside (64 of
    // them for a borrow).
    let costs = [48.0 + 12.0 + 176.3, 48.0, 256.0 + 88.0].map(|bytes: f64| (bytes * f64::from(MORE)) as i64);
    let holding = [0, 0, 256].map(|bytes| bytes * u64::from(MORE));
    let (before, memory_bytes) = reserved(&few);
    for ((config, cost), held) in many.iter().zip(costs).zip(holding) {
        let (mut after, memory_bytes_after) = reserved(config);
        // Of these sizes it is the system's, not the allocator's.
        if cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))) {
            after += held as i64;
        }
        assert!(after - before <= cost, "{} bytes for each are more than was published", (after - before) / 64_000);
        assert_eq!(memory_bytes_after - memory_bytes, held, "bytes that hold received data");
    }
}

#[test]
fn parts_allocate_nothing_after_the_start() {
    let mut scheduler = Scheduler::new(&SchedulerConfig::new(1, 2)).expect("the configuration is allowed");
    unallocating(|| {
        let Ok(Outcome::Granted(lease)) = scheduler.request(0, 1) else { panic!("a buffer is free") };
        let Ok(Outcome::Queued(_)) = scheduler.request(0, 2) else { panic!("none is free") };
        scheduler.release(lease).expect("the lease is held");
        assert!(scheduler.poll_grant().is_some() && scheduler.stats().free == 0);
    });
    unallocating(|| {
        let mut connection = Connection::new(Policy::default());
        let mut rng = Rng::with_seed(5);
        let _ = connection.handle(Event::Attach { buffered_bytes: 0, capacity: 64 });
        for _ in 0..10_000 {
            let _ = connection.handle(any_event(&mut rng));
        }
        let decoder = Decoder::new(Side::Client);
        assert!(decoder.peek(PREFACE).is_ok() && decoder.peek(b"GET").is_err());
    });
}

#[test]
fn c_calls_allocate_nothing_after_the_start() {
    // SAFETY: as in the tests above: live locals, and a pool that lives until the end.
    unsafe {
        let mut config = demuxbuf_pool_config::default();
        demuxbuf_pool_config_init(&mut config, 1 << 20, 4);
        let (mut pool, none) = (std::ptr::null_mut(), std::ptr::null_mut());
        assert_eq!(demuxbuf_pool_new(&config, &mut pool, none, std::ptr::null_mut()), DEMUXBUF_OK);
        unallocating(|| {
            let mut receiver = 0;
            assert_eq!(
                demuxbuf_receiver_attach(
                    pool,
                    std::ptr::null(),
                    &mut receiver,
                    std::ptr::null_mut(),
                    std::ptr::null_mut()
                ),
                DEMUXBUF_OK
            );
            for _ in 0..100 {
                let step = demuxbuf_receiver_readable(pool, receiver);
                assert!(step.actions & DEMUXBUF_RECV != 0 && step.bytes > 13);
                let step = demuxbuf_receiver_received(pool, receiver, 13);
                assert!(step.actions & Action::Decode as u32 != 0);
                assert_eq!(demuxbuf_receiver_decoded(pool, receiver, 10, 4).actions & DEMUXBUF_ERROR, 0);
                demuxbuf_receiver_readable(pool, receiver);
                demuxbuf_receiver_received(pool, receiver, 4);
                demuxbuf_receiver_decoded(pool, receiver, 7, 0);
                demuxbuf_receiver_would_block(pool, receiver);
                assert_ne!(demuxbuf_receiver_received(pool, receiver, 1).actions & DEMUXBUF_ERROR, 0);
            }
            let mut stats = demuxbuf_pool_stats::default();
            assert_eq!(demuxbuf_pool_get_stats(pool, &mut stats), DEMUXBUF_OK);
            assert_eq!(demuxbuf_receiver_close(pool, receiver).actions, DEMUXBUF_FINISHED);
            assert_ne!(demuxbuf_receiver_close(pool, receiver).actions & DEMUXBUF_ERROR, 0);
        });
        demuxbuf_pool_free(pool);
    }
}
