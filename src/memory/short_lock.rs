//! A lock for work of a few instructions that two threads seldom have at once: one atomic exchange takes it, and it is
//! free again by a store, where a mutex has an exchange for each.
#![allow(unsafe_code)]

use core::panic::{RefUnwindSafe, UnwindSafe};

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering},
};
#[cfg(not(loom))]
use {
    cell::UnsafeCell,
    core::sync::atomic::{AtomicU32, Ordering},
};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// A thread panicked while it held the lock.
const BROKEN: u32 = 2;

/// How often a thread looks before it lets others run, and how often it does that before it sleeps.
#[cfg(not(loom))]
const LOOKS_MAX: u32 = 100;
#[cfg(not(loom))]
const YIELDS_MAX: u32 = 100;

/// A value that one thread at a time uses, for a moment. A thread that waits is not woken: it looks again.
#[derive(Debug)]
pub(crate) struct ShortLock<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: at any time one thread has a reference to the value, and may replace it: then another thread drops it.
unsafe impl<T: Send> Sync for ShortLock<T> {}

// A value that a panic left half changed is not used again.
impl<T> UnwindSafe for ShortLock<T> {}
impl<T> RefUnwindSafe for ShortLock<T> {}

/// That the value is in use: dropped only if the use ends with a panic.
struct InUse<'a>(&'a AtomicU32);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.store(BROKEN, Ordering::Release);
    }
}

impl<T> ShortLock<T> {
    pub(crate) fn new(value: T) -> ShortLock<T> {
        ShortLock { state: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Waits until no other thread uses the value, and uses it. A use inside of a use waits forever.
    ///
    /// # Panics
    ///
    /// A thread panicked while it used the value.
    #[inline(always)]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        if !self.try_take() {
            self.wait();
        }
        let in_use = InUse(&self.state);
        // SAFETY: the state is `HELD`, by this thread, so no other reference to the value is there before it is `FREE`
        // again, and this one has ended by then.
        let outcome = self.value.with_mut(|value| act(unsafe { &mut *value }));
        core::mem::forget(in_use);
        self.state.store(FREE, Ordering::Release);
        outcome
    }

    #[inline(always)]
    fn try_take(&self) -> bool {
        self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    #[inline(never)]
    fn wait(&self) {
        let mut looks = 0;
        loop {
            match self.state.load(Ordering::Relaxed) {
                FREE if self.try_take() => return,
                BROKEN => panic!("no thread panics inside the pool"),
                _ => pause(looks),
            }
            looks = looks.saturating_add(1);
        }
    }

    /// Whether a thread panicked while it used the value: a defect, after which nothing in it can be relied on.
    pub(crate) fn is_broken(&self) -> bool {
        self.state.load(Ordering::Relaxed) == BROKEN
    }
}

/// Between two looks. At the end it sleeps, since a thread of a lower priority that has the lock does not run
/// otherwise.
#[cfg(not(loom))]
#[allow(clippy::disallowed_methods, reason = "other threads may have to run before the lock is free")]
fn pause(looks: u32) {
    match looks {
        0..LOOKS_MAX => core::hint::spin_loop(),
        _ if looks - LOOKS_MAX < YIELDS_MAX => std::thread::yield_now(),
        _ => std::thread::sleep(core::time::Duration::from_micros(50)),
    }
}

#[cfg(loom)]
fn pause(_: u32) {
    loom::thread::yield_now();
}

/// As loom has it.
#[cfg(not(loom))]
mod cell {
    #[derive(Debug)]
    pub(super) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> UnsafeCell<T> {
            UnsafeCell(core::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(super) fn with_mut<R>(&self, act: impl FnOnce(*mut T) -> R) -> R {
            act(self.0.get())
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::disallowed_methods, reason = "a test may start threads")]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn one_thread_at_a_time_uses_the_value() {
        const TURNS: u64 = if cfg!(miri) { 100 } else { 100_000 };
        let lock = ShortLock::new([0; 2]);
        let turn = |both: &mut [u64; 2]| {
            assert_eq!(both[0], both[1]);
            both[0] += 1;
            both[1] += 1;
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..TURNS).for_each(|_| lock.with(turn)));
            }
        });
        assert_eq!(lock.with(|both| *both), [3 * TURNS; 2]);
    }

    /// However long that takes: here it sleeps by then.
    #[test]
    fn thread_that_waits_has_the_value_next() {
        let lock = ShortLock::new(0);
        std::thread::scope(|scope| {
            let second = lock.with(|value| {
                let second = scope.spawn(|| lock.with(|value| *value));
                std::thread::sleep(core::time::Duration::from_millis(50));
                *value = 7;
                second
            });
            assert_eq!(second.join().expect("it only reads"), 7);
        });
    }

    #[test]
    fn value_that_a_panic_left_half_changed_is_refused() {
        let lock = ShortLock::new(0);
        let use_it = |panics: bool| {
            catch_unwind(AssertUnwindSafe(|| {
                lock.with(|value| {
                    *value += 1;
                    assert!(!panics, "for the test");
                })
            }))
        };
        assert!(use_it(false).is_ok() && !lock.is_broken());
        assert!(use_it(true).is_err() && lock.is_broken());
        assert!(use_it(false).is_err());
    }

    /// A destructor that runs while the thread panics elsewhere leaves nothing half changed.
    #[test]
    fn use_during_a_panic_breaks_nothing() {
        struct AddsOne<'a>(&'a ShortLock<u32>);
        impl Drop for AddsOne<'_> {
            fn drop(&mut self) {
                self.0.with(|value| *value += 1);
            }
        }
        let lock = ShortLock::new(0);
        let panic_elsewhere = || {
            let _adds_one = AddsOne(&lock);
            panic!("for the test");
        };
        assert!(catch_unwind(AssertUnwindSafe(panic_elsewhere)).is_err());
        assert!(!lock.is_broken());
        assert_eq!(lock.with(|value| *value), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::thread;
    use std::sync::Arc;

    /// No more threads at once want what a lock of the shards has. Loom reports a use that does not come after the one
    /// before, and a thread that never goes on.
    #[test]
    fn uses_of_two_threads_follow_each_other() {
        loom::model(|| {
            let lock = Arc::new(ShortLock::new(0));
            let add_two = |lock: &ShortLock<u64>| (0..2).for_each(|_| lock.with(|sum| *sum += 1));
            let other = {
                let lock = Arc::clone(&lock);
                thread::spawn(move || add_two(&lock))
            };
            add_two(&lock);
            other.join().unwrap();
            assert_eq!((lock.with(|sum| *sum), lock.is_broken()), (4, false));
        });
    }
}
