//! What the operating system is asked to do with pages (madvise(2)). On other systems than Linux, and without `std`, it is
//! asked for nothing.
#![allow(unsafe_code)]

use core::ffi::c_int;
use core::mem::MaybeUninit;

/// What page alignment means here. Larger pages of the machine only make handing back coarser.
pub(super) const PAGE_BYTES: usize = 4096;

/// Size and alignment of the large pages of most machines, in bytes.
const LARGE_PAGE_BYTES: usize = 2 << 20;

const MADV_DONTNEED: c_int = 4;
const MADV_HUGEPAGE: c_int = 14;

/// Gives whole pages back to the operating system; says whether it took them. They read as zero afterwards.
///
/// # Safety
///
/// They are private memory that nobody else uses, and their content is needed no more.
pub(super) unsafe fn give_back(pages: *mut u8, bytes: usize) -> bool {
    // SAFETY: as above.
    unsafe { advise(pages, bytes, MADV_DONTNEED) }
}

/// Asks for large pages where they fit into this room, which was not touched yet. If there are none it stays as it is.
pub(super) fn prefer_large_pages<T>(room: &mut [MaybeUninit<T>]) {
    let (start, bytes) = (room.as_mut_ptr().cast::<u8>(), size_of_val(room));
    let before = start.align_offset(LARGE_PAGE_BYTES);
    let inside = bytes.saturating_sub(before) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
    if inside > 0 {
        // SAFETY: inside the room, which is exclusively borrowed; no content is changed by it.
        unsafe { advise(start.add(before), inside, MADV_HUGEPAGE) };
    }
}

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
