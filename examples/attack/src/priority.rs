//! The priorities of the tool's threads.

use std::io;

/// Lets this thread have only what the others leave of the processor, as attackers on other machines take nothing of
/// it. A real-time priority, if the program was started with one, becomes the usual one.
///
/// # Errors
///
/// The system does not allow it.
pub(crate) fn lower() -> io::Result<()> {
    match real_time() {
        Some(_) => set(libc::SCHED_OTHER, 0),
        None => set(libc::SCHED_IDLE, 0),
    }
}

/// How far above the relay are those that would be on other machines, and not wait for its processor: the server, and
/// the honest clients, which measure both.
pub(crate) const SERVER: i32 = 1;
pub(crate) const HONEST: i32 = 2;

/// While it lives, the real-time priority of this thread is higher by as much as it says. Without such a priority
/// nothing changes.
#[derive(Debug)]
pub(crate) struct Above {
    before: Option<(i32, i32)>,
}

impl Above {
    pub(crate) fn relay(by: i32) -> io::Result<Above> {
        let before = real_time();
        if let Some((policy, priority)) = before {
            set(policy, priority + by)?;
        }
        Ok(Above { before })
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        if let Some((policy, priority)) = self.before {
            set(policy, priority).expect("a lower priority is always allowed");
        }
    }
}

/// The policy and the priority of this thread, if they are of real time.
fn real_time() -> Option<(i32, i32)> {
    let mut parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is this thread; the pointer is to a local, which is written.
    let policy = unsafe {
        libc::sched_getparam(0, &raw mut parameters);
        libc::sched_getscheduler(0)
    };
    let is_real_time = [libc::SCHED_RR, libc::SCHED_FIFO].contains(&(policy & !libc::SCHED_RESET_ON_FORK));
    is_real_time.then_some((policy, parameters.sched_priority))
}

fn set(policy: i32, priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 is this thread; the pointer is to a local, which is only read.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a thread of its own.
    #[allow(clippy::disallowed_methods, reason = "the priority is that of a thread")]
    fn apart(act: impl FnOnce() + Send + 'static) {
        std::thread::spawn(act).join().expect("it does not panic");
    }

    fn policy() -> i32 {
        // SAFETY: there is no pointer; 0 is this thread.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn thread_gets_what_others_leave() {
        apart(|| {
            drop(Above::relay(SERVER).expect("nothing changes"));
            lower().expect("no privilege is needed");
            assert_eq!(policy(), libc::SCHED_IDLE);
        });
    }

    #[test]
    fn real_time_priority_rises_for_a_while() {
        apart(|| {
            if set(libc::SCHED_RR, 7).is_err() {
                // It takes a privilege.
                return;
            }
            let above = Above::relay(HONEST).expect("two more are allowed");
            assert_eq!(real_time(), Some((libc::SCHED_RR, 9)));
            drop(above);
            assert_eq!(real_time(), Some((libc::SCHED_RR, 7)));
            lower().expect("no privilege is needed");
            assert_eq!(policy(), libc::SCHED_OTHER);
        });
    }
}
