//! Pools and threads. Which types are `Send` and `Sync` is asserted in `src/send_sync.rs`, in each build of the
//! library: here every feature is on.

use demuxbuf::pool::{AttachOptions, Pool, PoolConfig};

/// What the compiler asserts holds for a program, too: a pool that was made here works on another thread.
#[test]
#[allow(clippy::disallowed_methods, reason = "the test is about threads")]
fn pool_moves_to_another_thread() {
    let mut pool = Pool::new(&PoolConfig::new(1 << 20, 1)).expect("the configuration is allowed");
    let attached = std::thread::spawn(move || pool.attach(&AttachOptions::new(0, 7)).is_ok());
    assert!(attached.join().expect("no panic"));
}
