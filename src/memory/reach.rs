//! Which leases of the host's own a call may use.
#![allow(unsafe_code)]

/// Which leases of the host's own a call of one thread may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    is_anywhere: bool,
}

impl Reach {
    /// Leases of this thread, and leases that outlived the pool of their thread: no other thread can have borrowed the
    /// buffer.
    pub const HERE: Reach = Reach { is_anywhere: false };

    /// As `anywhere`, for this crate: only for calls that give out no slice of a buffer.
    pub(crate) const ANYWHERE: Reach = Reach { is_anywhere: true };

    /// Leases of every thread.
    ///
    /// # Safety
    ///
    /// No slice of a buffer whose lease is used with it lives, on any thread: not of `Pool::buffer`. The caller reaches
    /// these buffers by addresses only, and no two threads use one at once.
    pub const unsafe fn anywhere() -> Reach {
        Reach::ANYWHERE
    }

    /// Whether leases of other threads are allowed. Only pools that threads share ask.
    #[cfg(feature = "std")]
    pub(crate) const fn is_anywhere(self) -> bool {
        self.is_anywhere
    }
}
