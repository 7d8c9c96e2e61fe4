//! What the operating system is asked to do with pages. On other systems than Linux, and without `std`, it is asked for
//! nothing, and memory is the allocator's.
#![allow(unsafe_code)]

use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
pub(crate) use system::HAS_MAPS;

/// The size of a page where the system is not asked: only what starts there is aligned to it.
const PAGE_BYTES: usize = 4096;

/// Size and alignment of the large pages of most machines, in bytes.
const LARGE_PAGE_BYTES: usize = 2 << 20;

const MADV_DONTNEED: c_int = 4;
const MADV_HUGEPAGE: c_int = 14;
const MADV_DONTDUMP: c_int = 16;

/// Size of a page of this machine, in bytes: a power of two.
#[cfg(all(target_os = "linux", feature = "std", not(miri)))]
pub(crate) fn page_bytes() -> usize {
    use core::sync::atomic::{AtomicUsize, Ordering};
    const SC_PAGESIZE: c_int = 30;
    /// What the system answered; 0 before the first question.
    static ANSWER: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" {
        fn sysconf(name: c_int) -> core::ffi::c_long;
    }
    match ANSWER.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: it takes any number.
            let answer = usize::try_from(unsafe { sysconf(SC_PAGESIZE) }).unwrap_or(0);
            let bytes = if answer.is_power_of_two() { answer } else { PAGE_BYTES };
            ANSWER.store(bytes, Ordering::Relaxed);
            bytes
        }
        bytes => bytes,
    }
}

/// As above; nothing is trimmed here.
#[cfg(not(all(target_os = "linux", feature = "std", not(miri))))]
pub(crate) fn page_bytes() -> usize {
    PAGE_BYTES
}

/// Zeroed pages that are not there before they are used, whatever the allocator does; `None` if there are none, or if
/// the allocator is to be asked here.
pub(crate) fn map(bytes: usize) -> Option<NonNull<u8>> {
    system::map(bytes)
}

/// Ends a mapping.
///
/// # Safety
///
/// It is one of [`map`] with this number of bytes, and not used any more.
pub(crate) unsafe fn unmap(pages: NonNull<u8>, bytes: usize) {
    // SAFETY: as above.
    unsafe { system::unmap(pages, bytes) }
}

/// Returns whole pages to the operating system, and whether it took them. They read as zero afterwards.
///
/// # Safety
///
/// `pages` is the start of a page. All of the range is mapped: private memory of the caller that nothing else uses,
/// with content that is not needed any more.
pub(crate) unsafe fn trim(pages: *mut u8, bytes: usize) -> bool {
    // SAFETY: as above.
    unsafe { advise(pages, bytes, MADV_DONTNEED) }
}

/// Leaves whole pages out of core dumps; returns whether the system does.
///
/// # Safety
///
/// All of the range is a mapping of the caller's, from its start.
pub(crate) unsafe fn leave_out_of_dumps(pages: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: as above; no content is changed by it.
    unsafe { advise(pages.as_ptr(), bytes, MADV_DONTDUMP) }
}

/// Asks for large pages where they fit into this room, which was not touched yet. If there are none it stays as it is.
pub(crate) fn prefer_large_pages<T>(room: &mut [MaybeUninit<T>]) {
    let (start, bytes) = (room.as_mut_ptr().cast::<u8>(), size_of_val(room));
    let before = start.align_offset(LARGE_PAGE_BYTES);
    let inside = bytes.saturating_sub(before) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
    if inside > 0 {
        // SAFETY: inside the room, which is exclusively borrowed; no content is changed by it.
        unsafe { advise(start.add(before), inside, MADV_HUGEPAGE) };
    }
}

/// Where the numbers of mmap(2) are known, and its last argument has the width of a register.
#[cfg(all(
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "powerpc64"),
    target_os = "linux",
    feature = "std",
    not(miri)
))]
mod system {
    use core::ffi::{c_int, c_long, c_void};
    use core::ptr::{NonNull, null_mut};

    /// Whether memory is mapped here, rather than the allocator's.
    pub(crate) const HAS_MAPS: bool = true;

    const PROT_READ_WRITE: c_int = 1 | 2;
    const MAP_PRIVATE_ANONYMOUS: c_int = 2 | 0x20;

    unsafe extern "C" {
        fn mmap(
            at: *mut c_void,
            length: usize,
            rights: c_int,
            flags: c_int,
            file: c_int,
            offset: c_long,
        ) -> *mut c_void;
        fn munmap(at: *mut c_void, length: usize) -> c_int;
    }

    pub(crate) fn map(bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: a new mapping of no file; no memory that is used is touched.
        let at = unsafe { mmap(null_mut(), bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0) };
        // It fails with an address that no mapping has.
        if at.addr() == usize::MAX { None } else { NonNull::new(at.cast()) }
    }

    /// # Safety
    ///
    /// A range that `map` returned, and that nothing uses any more.
    pub(crate) unsafe fn unmap(pages: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's mapping. It can fail only for ranges that are none.
        unsafe { munmap(pages.as_ptr().cast(), bytes) };
    }
}

#[cfg(not(all(
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "powerpc64"),
    target_os = "linux",
    feature = "std",
    not(miri)
)))]
mod system {
    use core::ptr::NonNull;

    pub(crate) const HAS_MAPS: bool = false;

    pub(crate) fn map(_bytes: usize) -> Option<NonNull<u8>> {
        None
    }

    pub(crate) unsafe fn unmap(_pages: NonNull<u8>, _bytes: usize) {}
}

/// # Safety
///
/// The range is whole pages of the caller, and the advice may change their content.
#[cfg(all(target_os = "linux", feature = "std", not(miri)))]
unsafe fn advise(pages: *mut u8, bytes: usize, advice: c_int) -> bool {
    unsafe extern "C" {
        fn madvise(address: *mut core::ffi::c_void, length: usize, advice: c_int) -> c_int;
    }
    // SAFETY: the caller's pages.
    unsafe { madvise(pages.cast(), bytes, advice) == 0 }
}

#[cfg(not(all(target_os = "linux", feature = "std", not(miri))))]
unsafe fn advise(_pages: *mut u8, _bytes: usize, _advice: c_int) -> bool {
    false
}
