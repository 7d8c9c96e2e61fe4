//! An address of the arena, which callers hand out.
#![allow(unsafe_code)]

use core::ptr::NonNull;

/// Where a part of the arena begins. Nothing is read or written through it here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address(NonNull<u8>);

// SAFETY: an address is a number to the crate; a caller that follows the pointer answers for that.
unsafe impl Send for Address {}
// SAFETY: as for `Send`.
unsafe impl Sync for Address {}

impl Address {
    /// No place of any arena.
    pub(crate) const NOWHERE: Address = Address(NonNull::dangling());

    pub(crate) fn new(at: NonNull<u8>) -> Address {
        Address(at)
    }

    #[inline(always)]
    pub(crate) fn get(self) -> NonNull<u8> {
        self.0
    }

    /// This number of bytes behind it.
    #[inline(always)]
    pub(crate) fn behind(self, bytes: u32) -> Address {
        let at = NonNull::new(self.0.as_ptr().wrapping_add(bytes as usize));
        Address(at.unwrap_or(Address::NOWHERE.0))
    }
}
