//! Memory that is not lent, as tools see it: with the feature `poison`, AddressSanitizer reports an access to it, and
//! so does Valgrind. Without the feature nothing of this is compiled.
//!
//! The host may use what the last step of a receiver returned, and buffers of its own. Everything else of the arena is
//! taken back. The library lends itself what it uses.
#![allow(unsafe_code)]

use core::ptr::NonNull;

/// Whether tools are informed at all.
pub(crate) const IS_ON: bool = cfg!(feature = "poison");

/// Takes memory back: from now on an access to it is a mistake.
///
/// # Safety
///
/// The bytes are of one piece of memory that the caller has.
#[inline(always)]
pub(super) unsafe fn take_back(at: NonNull<u8>, bytes: usize) {
    if IS_ON && bytes > 0 {
        // SAFETY: as this function asks.
        unsafe { tools::take_back(at, bytes) }
    }
}

/// Lends memory: from now on it may be used.
///
/// # Safety
///
/// The bytes are of one piece of memory that the caller has.
#[inline(always)]
pub(super) unsafe fn lend(at: NonNull<u8>, bytes: usize) {
    if IS_ON && bytes > 0 {
        // SAFETY: as this function asks.
        unsafe { tools::lend(at, bytes) }
    }
}

#[cfg(all(feature = "poison", not(miri)))]
mod tools {
    use core::ptr::NonNull;

    pub(super) unsafe fn take_back(at: NonNull<u8>, bytes: usize) {
        // SAFETY: memory of the library.
        unsafe { asan::call(asan::poison(), at, bytes) };
        valgrind::request(valgrind::MAKE_MEM_NOACCESS, at, bytes);
    }

    pub(super) unsafe fn lend(at: NonNull<u8>, bytes: usize) {
        // SAFETY: memory of the library.
        unsafe { asan::call(asan::unpoison(), at, bytes) };
        valgrind::request(valgrind::MAKE_MEM_DEFINED, at, bytes);
    }

    /// The calls of AddressSanitizer's run-time (sanitizer/asan_interface.h), if the program has one. References that
    /// are weak link without it.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    mod asan {
        use core::ptr::NonNull;

        core::arch::global_asm!(
            ".weak __asan_poison_memory_region",
            ".weak __asan_unpoison_memory_region",
            ".pushsection .data.rel.demuxbuf_asan, \"aw\"",
            ".balign 8",
            ".globl demuxbuf_asan_calls",
            ".hidden demuxbuf_asan_calls",
            "demuxbuf_asan_calls:",
            ".quad __asan_poison_memory_region",
            ".quad __asan_unpoison_memory_region",
            ".popsection",
        );

        pub(super) type Call = Option<unsafe extern "C" fn(*const u8, usize)>;

        unsafe extern "C" {
            #[link_name = "demuxbuf_asan_calls"]
            static CALLS: [Call; 2];
        }

        pub(super) fn poison() -> Call {
            // SAFETY: defined above, and written by the linker and loader alone. A weak reference is 0 or the function.
            unsafe { CALLS[0] }
        }

        pub(super) fn unpoison() -> Call {
            // SAFETY: as above.
            unsafe { CALLS[1] }
        }

        pub(super) unsafe fn call(call: Call, at: NonNull<u8>, bytes: usize) {
            if let Some(call) = call {
                // SAFETY: it takes any memory of the program.
                unsafe { call(at.as_ptr(), bytes) }
            }
        }
    }

    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    mod asan {
        use core::ptr::NonNull;

        pub(super) fn poison() {}

        pub(super) fn unpoison() {}

        pub(super) unsafe fn call(_call: (), _at: NonNull<u8>, _bytes: usize) {}
    }

    /// Client requests of Valgrind's memcheck: instructions that change nothing, and that Valgrind knows.
    mod valgrind {
        use core::ptr::NonNull;

        /// The first request of the tool `MC`.
        const MEMCHECK: u64 = (b'M' as u64) << 24 | (b'C' as u64) << 16;
        pub(super) const MAKE_MEM_NOACCESS: u64 = MEMCHECK;
        pub(super) const MAKE_MEM_DEFINED: u64 = MEMCHECK + 2;

        #[cfg(target_arch = "x86_64")]
        pub(super) fn request(request: u64, at: NonNull<u8>, bytes: usize) {
            let arguments = [request, at.as_ptr().addr() as u64, bytes as u64, 0, 0, 0];
            // SAFETY: the rotations add up to 128 bits, and the exchange is of a register with itself: nothing is
            // changed but flags and, under Valgrind, the result in rdx. The arguments are only read.
            unsafe {
                core::arch::asm!(
                    "rol rdi, 3",
                    "rol rdi, 13",
                    "rol rdi, 61",
                    "rol rdi, 51",
                    "xchg rbx, rbx",
                    in("rax") arguments.as_ptr(),
                    inout("rdx") 0_u64 => _,
                    options(nostack),
                );
            }
        }

        #[cfg(not(target_arch = "x86_64"))]
        pub(super) fn request(_request: u64, _at: NonNull<u8>, _bytes: usize) {}
    }
}

/// Miri knows of no tool.
#[cfg(not(all(feature = "poison", not(miri))))]
mod tools {
    use core::ptr::NonNull;

    pub(super) unsafe fn take_back(_at: NonNull<u8>, _bytes: usize) {}

    pub(super) unsafe fn lend(_at: NonNull<u8>, _bytes: usize) {}
}
