//! The priority of the attackers' thread.

use std::io;

/// Lets this thread have only what the others leave of the processor, as attackers on other machines take nothing of it.
/// A real-time priority, if the program was started with one, becomes the usual one.
///
/// # Errors
///
/// The system does not allow it.
pub(crate) fn lower() -> io::Result<()> {
    // SAFETY: there is no pointer; 0 is this thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    let is_real_time = [libc::SCHED_RR, libc::SCHED_FIFO].contains(&(policy & !libc::SCHED_RESET_ON_FORK));
    let lower = if is_real_time { libc::SCHED_OTHER } else { libc::SCHED_IDLE };
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a local, which is only read.
    let result = unsafe { libc::sched_setscheduler(0, lower, &raw const none) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the priority is that of a thread")]
    fn thread_gets_what_others_leave() {
        let lowered = std::thread::spawn(|| {
            lower().expect("no privilege is needed");
            // SAFETY: there is no pointer; 0 is this thread.
            unsafe { libc::sched_getscheduler(0) }
        });
        assert_eq!(lowered.join().expect("it does not panic"), libc::SCHED_IDLE);
    }
}
