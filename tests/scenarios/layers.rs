//! Scenarios of a layer between transport and host that reads ahead, such as a TLS library.

use crate::host::{Host, config, data_frame};
use crate::machine::{Machine, in_all_modes, in_modes};
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::PoolConfig;

/// Fifty frames of 100 bytes.
fn frames() -> Vec<u8> {
    data_frame(100).repeat(50)
}

fn config_of_a_layer(mode: Mode, peers: u32) -> PoolConfig {
    let mut config = config(mode, peers);
    config.policy.reads_ahead = true;
    config
}

/// All bytes are sent in one piece, so that the poller reports once; the layer hands on 300 bytes at a time.
fn drain(config: &PoolConfig) -> Host {
    let mut host = Host::new(config);
    let peer = host.attach();
    host.put_layer(peer, 300);
    host.send(peer, &frames());
    while host.iterate() > 0 {}
    host
}

#[test]
fn s69_layer_that_reads_ahead_is_drained() {
    in_all_modes(|mode| {
        let mut host = drain(&config_of_a_layer(mode, 1));
        host.settle();
        let peer = &host.peers[0];
        assert_eq!((peer.frames.len(), peer.undecoded()), (50, 0), "the layer is drained");
        // 17 with bytes, and at most two without.
        assert!(peer.receives <= 19, "{} receives, so it spins", peer.receives);
    });
    in_modes(&[Mode::Level, Mode::OneShot], |mode| {
        assert!(drain(&config(mode, 1)).peers[0].undecoded() > 4000, "given: the setting makes the difference");
    });
}

/// The decoder is blocked while the layer holds bytes, and nothing is to be heard of the socket any more.
#[test]
fn s69_layer_is_drained_after_a_block() {
    for pause_when_blocked in [false, true] {
        in_all_modes(|mode| {
            let mut config = config_of_a_layer(mode, 1);
            config.policy.pause_when_blocked = pause_when_blocked;
            let mut host = Host::new(&config);
            let peer = host.attach();
            host.put_layer(peer, 300);
            host.block(peer);
            host.send(peer, &frames());
            host.settle();
            assert!(host.peers[peer].frames.is_empty() && host.peers[peer].undecoded() == 5000, "given: blocked");
            host.unblock(peer);
            host.resume(peer);
            host.settle();
            assert_eq!((host.peers[peer].frames.len(), host.peers[peer].undecoded()), (50, 0));
        });
    }
}

/// The poller would not report the rest, so the host is asked to come back.
#[test]
fn s69_budget_of_receives_reschedules() {
    in_all_modes(|mode| {
        let policy = Policy { mode, reads_per_wake: 2, reads_ahead: true, ..Policy::default() };
        let mut machine = Machine::reading(policy, 1000);
        for _ in 0..2 {
            assert!(machine.wants(Action::Recv), "a short receive is not the last");
            machine.on(Event::Received { bytes: 10 });
            machine.on(Event::Consumed { bytes: 10 });
        }
        assert!(machine.wants(Action::Reschedule) && !machine.wants(Action::Recv));
        machine.on(Event::done(Action::Reschedule));
        assert!(!machine.wants(Action::Reschedule), "it is asked once");
        machine.on(Event::BufferReleased);
        assert!(machine.on(Event::Wake).has(Action::RequestBuffer));
        machine.on(Event::BufferGranted { capacity: 1000 });
        assert!(!machine.on(Event::WouldBlock).has(Action::Recv), "the layer has no more");
    });
    // Without a layer, level-triggered read interest is reported again.
    let mut machine = Machine::reading(Policy { reads_per_wake: 1, ..Policy::default() }, 10);
    machine.on(Event::Received { bytes: 10 });
    assert!(!machine.on(Event::Consumed { bytes: 10 }).has(Action::Reschedule));
}

/// The recipe: `PauseRecv` and `WouldBlock`, and once the socket is writable `ResumeRecv` and `Readable`.
#[test]
fn s70_receive_that_has_to_write_sleeps() {
    in_all_modes(|mode| {
        let mut machine = Machine::reading(Policy { mode, reads_ahead: true, ..Policy::default() }, 1000);
        machine.follow_interest();
        assert!(machine.wants(Action::Recv));
        machine.on(Event::PauseRecv);
        machine.on(Event::WouldBlock);
        assert!(machine.wants(Action::ReleaseBuffer), "it holds no buffer meanwhile");
        machine.on(Event::BufferReleased);
        machine.follow_interest();
        assert_eq!(machine.pending(), Actions::NONE, "it sleeps");
        assert_eq!(machine.connection.is_armed(), mode == Mode::Edge, "an edge is reported once");
        // What the socket reports meanwhile, if it does, changes nothing.
        if mode == Mode::Edge {
            assert_eq!(machine.on(Event::Readable), Actions::NONE);
        }
        machine.on(Event::ResumeRecv);
        assert!(machine.on(Event::Readable).has(Action::RequestBuffer));
        assert!(machine.on(Event::BufferGranted { capacity: 1000 }).has(Action::Recv), "it goes on");
    });
}

/// Peers that wait for room: one with nothing, one with a partial frame in a small cell. Returns how often they
/// received while they waited.
fn wait_under_a_layer(config: &PoolConfig) -> usize {
    let mut host = Host::new(config);
    let peers = [host.attach(), host.attach()];
    peers.iter().for_each(|&peer| host.put_layer(peer, 300));
    host.send(peers[1], &frames()[..20]);
    host.settle();
    assert_eq!((host.buffered_bytes(peers[1]), host.held()), (20, (0, 0, 1)), "given: a partial frame");
    let leases = host.take_all_buffers(0);
    let before: usize = host.peers.iter().map(|peer| peer.receives).sum();
    host.send(peers[0], &frames());
    host.send(peers[1], &frames()[20..]);
    host.settle();
    assert!(peers.iter().all(|&peer| host.is_waiting(peer)));
    let receives = host.peers.iter().map(|peer| peer.receives).sum::<usize>() - before;
    leases.into_iter().for_each(|lease| host.release(lease));
    host.settle();
    assert!(host.peers.iter().all(|peer| (peer.frames.len(), peer.undecoded()) == (50, 0)), "all are served");
    receives
}

/// A receive of the 44 bytes that are free in a cell would move a whole record out of the kernel, to where no bound is.
#[test]
fn s71_waiter_under_a_layer_receives_nothing() {
    in_all_modes(|mode| {
        assert_eq!(wait_under_a_layer(&config_of_a_layer(mode, 2)), 0);
    });
    // In these modes the layer is drained without the setting, too.
    in_modes(&[Mode::Edge, Mode::Optimistic], |mode| {
        assert!(wait_under_a_layer(&config(mode, 2)) >= 2, "given: the setting makes the difference");
    });
}

/// A host with slots of its own that lends one all the same is asked to take it back.
#[test]
fn s71_lent_slot_is_returned() {
    in_all_modes(|mode| {
        let mut machine = Machine::with_policy(Policy { mode, reads_ahead: true, ..Policy::default() });
        machine.follow_interest();
        machine.on(Event::Readable);
        machine.on(Event::BufferDenied);
        machine.on(Event::BufferParked { capacity: 64 });
        machine.follow_interest();
        assert_eq!(machine.pending(), Action::ReleaseBuffer.into());
        machine.on(Event::BufferReleased);
        assert!(machine.on(Event::BufferGranted { capacity: 1000 }).has(Action::Recv));
    });
}
