//! A layer between transport and receiver that reads ahead, such as a TLS library: the poller does not report what it
//! holds.

use crate::{MODES, pool_of_eight_with};
use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, Pool, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome};
use demuxbuf_testkit::in_modes;

/// A receiver, the bytes that its layer holds, and what the receiver received.
struct Layer {
    id: ReceiverId,
    held_bytes: u32,
    received_bytes: u32,
    receives: u32,
}

fn pool_in(mode: Mode, reads_ahead: bool) -> Pool {
    pool_of_eight_with(Policy { mode, reads_ahead, reads_per_wake: 2, ..Policy::default() }, 0)
}

fn attach(pool: &mut Pool, held_bytes: u32) -> Layer {
    let id = pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    Layer { id, held_bytes, received_bytes: 0, receives: 0 }
}

fn lease_all(pool: &mut Pool) -> Vec<LeaseId> {
    let request = |_| if let Ok(Outcome::Granted(lease)) = pool.request(0, 0) { Some(lease) } else { None };
    (0..8).map_while(request).collect()
}

impl Layer {
    /// Does what is pending until nothing is, in as many loop iterations as that takes; the layer hands on at most 50
    /// bytes at once, and the decoder leaves none.
    fn drain(&mut self, pool: &mut Pool) {
        for _ in 0..100 {
            let actions = pool.pending(self.id).expect("it is attached");
            let event = if actions.has(Action::Recv) {
                let room = pool.receive_area(self.id).expect("it is attached").len() as u32;
                assert!(room > 0, "given: there is room where a receive is asked for");
                let bytes = self.held_bytes.min(room).min(50);
                self.receives += 1;
                (self.held_bytes, self.received_bytes) = (self.held_bytes - bytes, self.received_bytes + bytes);
                if bytes > 0 { Event::Received { bytes } } else { Event::WouldBlock }
            } else if actions.has(Action::Decode) {
                Event::Consumed { bytes: pool.data(self.id).expect("it is attached").len() as u32 }
            } else if actions.has(Action::WantRecv) || actions.has(Action::StopRecv) {
                Event::Done(actions.intersection(Action::WantRecv | Action::StopRecv))
            } else if actions.has(Action::Reschedule) {
                pool.handle(self.id, Event::done(Action::Reschedule)).expect("it is pending");
                Event::Wake
            } else {
                return;
            };
            pool.handle(self.id, event).expect("it is pending");
            assert_eq!(pool.check_invariants(), Ok(()));
        }
        panic!("it spins");
    }

    fn is_waiting(&self, pool: &Pool) -> bool {
        pool.connection(self.id).expect("it is attached").is_waiting()
    }
}

/// One report of the poller is all there is.
#[test]
fn s69_layer_is_drained_after_one_report() {
    in_modes(&MODES, |mode| {
        let mut pool = pool_in(mode, true);
        let mut layer = attach(&mut pool, 1_000);
        layer.drain(&mut pool);
        pool.handle(layer.id, Event::Readable).expect("it is attached");
        layer.drain(&mut pool);
        assert_eq!((layer.held_bytes, layer.received_bytes), (0, 1_000));
        assert!(layer.receives <= 22, "{} receives", layer.receives);
    });
    let mut pool = pool_in(Mode::Level, false);
    let mut layer = attach(&mut pool, 1_000);
    layer.drain(&mut pool);
    pool.handle(layer.id, Event::Readable).expect("it is attached");
    layer.drain(&mut pool);
    assert!(layer.held_bytes > 0, "given: the setting makes the difference");
}

/// A receive of 64 bytes would move a whole record out of the kernel, to where no bound is.
#[test]
fn s71_receiver_under_a_layer_claims_in_shortage() {
    for reads_ahead in [true, false] {
        in_modes(&MODES, |mode| {
            let mut pool = pool_in(mode, reads_ahead);
            let mut layer = attach(&mut pool, 100);
            layer.drain(&mut pool);
            let leases = lease_all(&mut pool);
            let receives = layer.receives;
            pool.handle(layer.id, Event::Readable).expect("it is attached");
            let is_asked = pool.pending(layer.id).expect("it is attached").has(Action::Recv);
            assert_eq!((is_asked, layer.is_waiting(&pool)), (!reads_ahead, reads_ahead));
            if !reads_ahead {
                return;
            }
            layer.drain(&mut pool);
            assert_eq!(layer.receives, receives);
            leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
            while pool.poll_notice().is_some() {
                layer.drain(&mut pool);
            }
            assert_eq!((layer.held_bytes, layer.is_waiting(&pool)), (0, false));
        });
    }
}

/// Memory runs out between two receives of one wake-up. No report of the poller comes any more.
#[test]
fn s69_shortage_between_two_receives_loses_nothing() {
    in_modes(&MODES, |mode| {
        let mut pool = pool_in(mode, true);
        let mut layer = attach(&mut pool, 0);
        layer.drain(&mut pool);
        layer.held_bytes = 400;
        let actions = pool.handle(layer.id, Event::Readable).expect("it is attached");
        assert!(actions.has(Action::Recv));
        layer.held_bytes -= 50;
        pool.handle(layer.id, Event::Received { bytes: 50 }).expect("there is room");
        let leases = lease_all(&mut pool);
        pool.handle(layer.id, Event::Consumed { bytes: 50 }).expect("they are buffered");
        layer.drain(&mut pool);
        assert!(layer.is_waiting(&pool) && layer.held_bytes == 350, "given: it waits");
        leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
        assert!(matches!(pool.poll_notice(), Some(Notice::Receiver { .. })), "it is granted");
        layer.drain(&mut pool);
        assert_eq!((layer.held_bytes, layer.is_waiting(&pool)), (0, false));
    });
}

/// A policy that comes later counts as one from the beginning.
#[test]
fn layer_may_come_and_go() {
    let mut pool = pool_in(Mode::Level, false);
    let mut layer = attach(&mut pool, 100);
    layer.drain(&mut pool);
    lease_all(&mut pool);
    for reads_ahead in [true, false] {
        let policy = Policy { reads_ahead, ..Policy::default() };
        pool.set_policy(layer.id, &policy).expect("it is attached");
        let actions = pool.handle(layer.id, Event::Readable).expect("it is attached");
        assert_eq!(actions.has(Action::Recv), !reads_ahead);
    }
}
