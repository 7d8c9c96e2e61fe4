//! `SO_RCVLOWAT`, which rustix does not have.

use rustix::io::{Errno, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

const BYTES: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;

fn check(status: libc::c_int) -> Result<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    }
}

pub(super) fn set_mark(socket: BorrowedFd<'_>, mark: u32) -> Result<()> {
    let value = mark as libc::c_int;
    let at = (&raw const value).cast();
    // SAFETY: the kernel reads one number, which outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, at, BYTES) })
}

#[cfg(target_os = "linux")]
pub(super) fn mark(socket: BorrowedFd<'_>) -> Result<u32> {
    let (mut value, mut bytes): (libc::c_int, _) = (0, BYTES);
    let at = (&raw mut value).cast();
    let (fd, name) = (socket.as_raw_fd(), libc::SO_RCVLOWAT);
    // SAFETY: the kernel writes at most one number, and its length, to what outlives the call.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, at, &raw mut bytes) })?;
    Ok(value as u32)
}
