//! A hint that memory is used soon.
#![allow(unsafe_code)]

/// Asks the processor to fetch the cache lines that a row begins and ends in: all of them for a row of at most 64
/// bytes. Nothing is read or waited for, and there is no other effect. On processors other than x86-64 it is nothing.
#[inline(always)]
pub(crate) fn prefetch<T>(row: &T) {
    const { assert!(0 < size_of::<T>() && size_of::<T>() <= 64) };
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let first = core::ptr::from_ref(row).cast::<i8>();
        let last = first.wrapping_add(size_of::<T>() - 1);
        // SAFETY: an address is all that it needs; nothing is accessed.
        unsafe {
            _mm_prefetch(first, _MM_HINT_T0);
            _mm_prefetch(last, _MM_HINT_T0);
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = row;
}
