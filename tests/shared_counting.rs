//! Receivers that count, in the pools of several threads.

mod common;

use common::{attach, check, config, exhaust, two};
use demuxbuf::connection::{Action, Actions, Event, Policy};
use demuxbuf::pool::{AttachOptions, PoolConfig};

/// The mark is the socket's, and that of a frame that one thread awaits is set anew by the other. That the peer closed
/// is known there, too.
#[test]
fn counting_receiver_counts_where_it_is_imported() {
    let policy = Policy { counting: true, ..Policy::default() };
    let (_shared_pool, mut a, mut b) = two(&PoolConfig { policy, ..config() });
    exhaust(&mut a, &mut b);
    for pool in [&mut a, &mut b] {
        // Nor are there spares.
        while pool.memory().free_buffers() > 0 {
            let Ok(id) = pool.attach_with(&AttachOptions::new(0, 3), &[3; 100]) else { break };
            pool.decoded(id, 0, 150).unwrap();
        }
    }
    let id = attach(&mut a, 1);
    a.handle(id, Event::done(Action::WantRecv)).unwrap();
    assert!(a.handle(id, Event::Readable).unwrap().has(Action::Peek), "given: memory is short");
    a.decoded(id, 0, 200).unwrap();
    assert_eq!(a.handle(id, Event::WouldBlock).unwrap(), Action::WantRecv.into());
    a.handle(id, Event::done(Action::WantRecv)).unwrap();
    assert_eq!(a.low_water_mark(id), Ok(200));
    assert_eq!((a.poll_notice(), a.poll_wake()), (None, None), "it asks no buffer of other threads");
    let mut exported = a.export(id).unwrap();
    let id = b.import(&mut exported).unwrap();
    assert_eq!((b.pending(id), b.low_water_mark(id)), (Ok(Action::WantRecv.into()), Ok(200)), "1 counts as in force");
    b.handle(id, Event::done(Action::WantRecv)).unwrap();
    assert_eq!(b.pending(id), Ok(Actions::NONE), "it waits for the same frame");
    let actions = b.handle(id, Event::Readable).unwrap();
    assert!(actions.has(Action::Peek) && actions.has(Action::RecvWhole), "{actions}");
    let actions = b.handle(id, Event::PeerClosed).unwrap();
    assert!(actions.has(Action::Recv) && !actions.has(Action::RecvWhole), "{actions}");
    let mut exported = b.export(id).unwrap();
    let id = a.import(&mut exported).unwrap();
    let actions = a.handle(id, Event::Readable).unwrap();
    assert!(actions.has(Action::Recv) && !actions.has(Action::RecvWhole), "{actions}");
    check(&a, &b);
}
