//! `Box` and `Arc` for the start: where those end the process, these return `None`.
#![allow(unsafe_code)]

use alloc::alloc::alloc;
use alloc::boxed::Box;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

/// `Box::new`; `None` if there is no memory, and the value is dropped.
pub fn try_box<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the size is not zero.
    let place = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if place.is_null() {
        return None;
    }
    // SAFETY: freshly allocated for a `T`, by the allocator and with the layout of a `Box`.
    unsafe {
        place.write(value);
        Some(Box::from_raw(place))
    }
}

/// A value with several owners, which may be of different threads: the last one drops it.
#[derive(Debug)]
pub struct TryArc<T> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    owners: AtomicUsize,
    value: T,
}

// SAFETY: the owners share the value as references do, and any one may be the last, which drops it.
unsafe impl<T: Send + Sync> Send for TryArc<T> {}
// SAFETY: through `&TryArc` there is `&T`, and by `clone` another owner, which may be the last, on another thread.
unsafe impl<T: Send + Sync> Sync for TryArc<T> {}

impl<T> TryArc<T> {
    /// Its first owner; `None` if there is no memory, and the value is dropped.
    pub fn try_new(value: T) -> Option<TryArc<T>> {
        let inner = try_box(Inner { owners: AtomicUsize::new(1), value })?;
        Some(TryArc { inner: NonNull::from(Box::leak(inner)), owns: PhantomData })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: it lives as long as any owner, and is only shared until the last is gone.
        unsafe { self.inner.as_ref() }
    }
}

impl<T> Clone for TryArc<T> {
    /// One more owner. Cost: one atomic addition.
    fn clone(&self) -> TryArc<T> {
        // The owner that is cloned keeps the value alive meanwhile, so the order of these does not matter.
        let before = self.inner().owners.fetch_add(1, Ordering::Relaxed);
        assert!(before < usize::MAX / 2, "there are fewer owners than bytes of memory");
        TryArc { inner: self.inner, owns: PhantomData }
    }
}

impl<T> Deref for TryArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> Drop for TryArc<T> {
    fn drop(&mut self) {
        // What the others did with the value comes before its end.
        if self.inner().owners.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: leaked by `try_new`, and this was the last owner.
            drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn the_last_owner_drops_the_value_once() {
        struct Dropped<'a>(&'a Cell<u32>);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let drops = Cell::new(0);
        let first = TryArc::try_new(Dropped(&drops)).expect("there is memory");
        let second = first.clone();
        assert!(core::ptr::eq(&*first, &*second), "both own the same");
        drop(first);
        assert_eq!((drops.get(), second.0.get()), (0, 0));
        drop(second);
        assert_eq!(drops.get(), 1);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test may start threads")]
    fn owners_of_other_threads_see_one_value() {
        let sum = TryArc::try_new(AtomicUsize::new(0)).expect("there is memory");
        let threads = [1, 2, 3].map(|number| {
            let sum = sum.clone();
            std::thread::spawn(move || sum.fetch_add(number, Ordering::Relaxed))
        });
        for thread in threads {
            thread.join().expect("it only adds");
        }
        assert_eq!(sum.load(Ordering::Relaxed), 6);
    }
}
