//! The atomics and the lock that the shards are made of. Built with `--cfg loom` they are loom's, so that its
//! models run the very structures that ship.

#[cfg(loom)]
pub(super) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
pub(super) use {
    crate::memory::short_lock::ShortLock,
    std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
    },
};

/// The most times that [`Lock::let_others_in`] offers the processor.
#[cfg(not(loom))]
const YIELDS_MAX: u32 = 1000;

/// A lock that long work gives up between its pieces. With a mutex alone the next piece would have the lock again
/// before a thread that waits for it is awake.
#[derive(Debug)]
pub(super) struct Lock<T> {
    mutex: Mutex<T>,
    /// Threads that wait. It decides nothing but how long long work takes, so it is not loom's.
    waiting: core::sync::atomic::AtomicU32,
}

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Lock<T> {
        Lock { mutex: Mutex::new(value), waiting: core::sync::atomic::AtomicU32::new(0) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(not(loom))]
        if let Ok(guard) = self.mutex.try_lock() {
            return guard;
        }
        self.waiting.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        let guard = self.mutex.lock();
        self.waiting.fetch_sub(1, core::sync::atomic::Ordering::Relaxed);
        guard.expect("no thread panics inside the pool")
    }

    /// See [`is_poisoned`].
    pub(super) fn is_poisoned(&self) -> bool {
        is_poisoned(&self.mutex)
    }

    /// Waits until the threads that wait for the lock have it, but not forever. The caller does not hold the lock.
    pub(super) fn let_others_in(&self) {
        #[cfg(not(loom))]
        for _ in 0..YIELDS_MAX {
            if self.waiting.load(core::sync::atomic::Ordering::Relaxed) == 0 {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// In the models of the shards, a mutex in place of the lock that ships: a thread that waits for it does not run, where
/// one that looks again has more interleavings than can be tried. `ShortLock` has models of its own.
#[cfg(loom)]
#[derive(Debug)]
pub(super) struct ShortLock<T>(Mutex<T>);

#[cfg(loom)]
impl<T> ShortLock<T> {
    pub(super) fn new(value: T) -> ShortLock<T> {
        ShortLock(Mutex::new(value))
    }

    pub(super) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        act(&mut self.0.lock().unwrap())
    }

    pub(super) fn is_broken(&self) -> bool {
        is_poisoned(&self.0)
    }
}

/// Whether a thread panicked while it held the lock: a defect, after which nothing in it can be relied on. Loom ends a
/// model there.
pub(super) fn is_poisoned<T>(mutex: &Mutex<T>) -> bool {
    #[cfg(not(loom))]
    let is_poisoned = mutex.is_poisoned();
    #[cfg(loom)]
    let is_poisoned = {
        let _ = mutex;
        false
    };
    is_poisoned
}

/// Keeps what is inside on cache lines of its own; two, because processors fetch them in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct CachePadded<T>(pub(super) T);
