//! Handles, counters and what the host may do wrong with them: scenarios S84 to S89, as Rust sees them.

use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::Outcome;
use demuxbuf::receiver::{Granted, Handover, ReceiverError, ReceiverId, ReceiverThreads, Receivers, ReceiversConfig};

fn config(buffers: u32, receivers_max: u32) -> ReceiversConfig {
    ReceiversConfig { buffer_bytes: 256, ..ReceiversConfig::new(buffers, receivers_max) }
}

/// What is buffered, as the counters say.
fn buffered(receivers: &Receivers) -> u64 {
    receivers.check_invariants().expect("nothing is broken");
    let stats = receivers.stats();
    stats.received_bytes - stats.consumed_bytes - stats.dropped_bytes - stats.handed_over_bytes
}

fn receive(receivers: &mut Receivers, id: ReceiverId, bytes: u32) {
    receivers.handle(id, Event::Readable).expect("it is attached");
    receivers.handle(id, Event::Received { bytes }).expect("there is room");
}

/// Each of 300 threads has a receiver in its first row; no thread takes the handle of another for its own.
#[test]
fn s84_each_of_300_threads_refuses_all_others() {
    let threads = ReceiverThreads::new(&config(2, 2), 300).expect("the configuration is allowed");
    let mut all: Vec<Receivers> = (0..300).map(|index| threads.receivers(index).expect("it has none")).collect();
    let ids: Vec<ReceiverId> = all.iter_mut().map(|receivers| receivers.attach(0, 0).expect("there is room")).collect();
    for (index, receivers) in all.iter_mut().enumerate() {
        for (other, &id) in ids.iter().enumerate() {
            let expected = if other == index { Ok(()) } else { Err(ReceiverError::Stale) };
            assert_eq!(receivers.handle(id, Event::Wake).map(|_| ()), expected, "thread {index}, receiver of {other}");
        }
    }
}

/// The receivers of a thread are made anew: they refuse the handles of those before.
#[test]
fn s84_remade_thread_refuses_handles_of_the_one_before() {
    let threads = ReceiverThreads::new(&config(2, 2), 2).expect("the configuration is allowed");
    let mut before: Vec<ReceiverId> = Vec::new();
    for _ in 0..600 {
        let mut receivers = threads.receivers(1).expect("it has none");
        let ids = [0, 1].map(|token| receivers.attach(0, token).expect("there is room"));
        for &id in &before {
            assert_eq!(receivers.handle(id, Event::Wake), Err(ReceiverError::Stale));
        }
        receivers.handle(ids[0], Event::Close).expect("it is attached");
        before.extend([ids[0], receivers.attach(0, 2).expect("there is room"), ids[1]]);
    }
}

/// A receiver of another shared pool is refused, also while one with the same numbers is on its way here.
#[test]
fn s86_import_of_another_pools_receiver_is_stale() {
    let made = [(); 2].map(|()| ReceiverThreads::new(&config(2, 2), 2).expect("the configuration is allowed"));
    let mut all = made.each_ref().map(|threads| [0, 1].map(|index| threads.receivers(index).expect("it has none")));
    let mut moving = all.each_mut().map(|receivers| {
        let id = receivers[0].attach(0, 0).expect("there is room");
        receivers[0].export(id).expect("it can move")
    });
    for (at, moving) in moving.iter_mut().enumerate() {
        assert_eq!(all[1 - at][1].import(moving), Err(ReceiverError::Stale));
        assert_eq!(all[1 - at][1].stats().receivers, at as u32);
        all[at][1].import(moving).expect("it is its own");
        assert_eq!(all[at][1].import(moving), Err(ReceiverError::Stale), "it is empty");
    }
}

/// As many receivers may be on their way as all threads can have; then one more stays where it is.
#[test]
fn s86_export_is_refused_when_the_table_is_full() {
    let threads = ReceiverThreads::new(&config(2, 2), 2).expect("the configuration is allowed");
    let [mut from, mut to] = [0, 1].map(|index| threads.receivers(index).expect("it has none"));
    let export = |from: &mut Receivers| {
        let id = from.attach(0, 0).expect("there is room");
        (id, from.export(id))
    };
    let mut moving: Vec<_> = (0..4).map(|_| export(&mut from).1.expect("it can move")).collect();
    let (id, refused) = export(&mut from);
    assert_eq!(refused.map(|_| ()), Err(ReceiverError::TableFull));
    from.handle(id, Event::Wake).expect("it is where it was");
    to.import(&mut moving[2]).expect("it was exported");
    let mut last = from.export(id).expect("one is less on its way");
    to.import(&mut last).expect("it was exported");
}

/// Whichever way bytes come in, they are counted once, and leave once.
#[test]
fn s88_counters_add_up_for_attach_and_adopt() {
    let mut receivers = Receivers::new(&config(4, 4)).expect("the configuration is allowed");
    let in_slot = receivers.attach_with(0, 0, &[7; 10]).expect("a slot is free");
    let in_buffer = receivers.attach_with(0, 0, &[7; 100]).expect("a buffer is free");
    assert_eq!((buffered(&receivers), receivers.stats().received_bytes), (110, 110));
    receivers.decoded(in_slot, 10, 0).expect("they are there");
    receivers.decoded(in_buffer, 30, 0).expect("they are there");
    let taken = receivers.take(in_buffer).expect("it is in a buffer");
    assert_eq!((buffered(&receivers), receivers.stats().handed_over_bytes), (0, 70));
    let adopted = receivers.adopt(0, 0, taken).expect("it is the host's");
    assert_eq!((buffered(&receivers), receivers.stats().received_bytes), (70, 180));
    receivers.handle(adopted, Event::Close).expect("it is attached");
    assert_eq!((buffered(&receivers), receivers.stats().dropped_bytes), (0, 70));

    // A refused call counts nothing.
    let Ok(Outcome::Granted(lease)) = receivers.request(0, 0) else { panic!("a buffer is free") };
    receivers.adopt(0, 0, Handover { lease, offset: 200, level: 57 }).expect_err("it is outside");
    receivers.attach_with(9, 0, &[7; 10]).expect_err("there is no such class");
    receivers.attach_with(0, 0, &[7; 257]).expect_err("it is more than a buffer");
    assert_eq!((buffered(&receivers), receivers.stats().received_bytes), (0, 180));
}

/// A receiver that moves takes its bytes out of the counters of one thread and into those of the other.
#[test]
fn s88_counters_add_up_on_both_threads_of_a_move() {
    let threads = ReceiverThreads::new(&config(4, 4), 2).expect("the configuration is allowed");
    let [mut from, mut to] = [0, 1].map(|index| threads.receivers(index).expect("it has none"));
    for bytes in [200, 20, 0] {
        let id = from.attach(0, 0).expect("there is room");
        if bytes > 0 {
            receive(&mut from, id, bytes);
        }
        let mut moving = from.export(id).expect("it can move");
        assert_eq!((buffered(&from), buffered(&to)), (0, 0));
        let id = to.import(&mut moving).expect("it was exported");
        assert_eq!((buffered(&from), buffered(&to)), (0, u64::from(bytes)));
        to.handle(id, Event::Close).expect("it is attached");
        assert_eq!(buffered(&to), 0);
    }
    assert_eq!((from.stats().handed_over_bytes, to.stats().received_bytes, to.stats().dropped_bytes), (220, 220, 220));
}

/// One buffer, with deadlines, for two threads.
fn two_with_deadlines() -> (ReceiverThreads, [Receivers; 2]) {
    let mut config = config(1, 4);
    (config.pool.park_ns, config.pool.lease_ns, config.lifeline, config.policy.park_bytes) = (10, 20, false, 0);
    let threads = ReceiverThreads::new(&config, 2).expect("the configuration is allowed");
    let both = [0, 1].map(|index| threads.receivers(index).expect("it has none"));
    (threads, both)
}

fn check(both: &[Receivers; 2]) {
    for (at, receivers) in both.iter().enumerate() {
        assert_eq!(receivers.check_invariants(), Ok(()), "thread {at}");
    }
}

/// A receiver that holds the one buffer, half a frame in it.
fn holder(receivers: &mut Receivers) -> ReceiverId {
    let id = receivers.attach(0, 1).expect("there is room");
    receive(receivers, id, 100);
    receivers.decoded(id, 0, 100).expect("it is attached");
    id
}

/// The deadline of a lease moves with its receiver: the first thread, which uses the memory again, has none left of it,
/// and the second asks the holder to leave when its time is over.
#[test]
fn s89_deadline_moves_with_its_receiver() {
    let (_threads, mut both) = two_with_deadlines();
    for round in 0..3 {
        let id = holder(&mut both[0]);
        check(&both);
        let mut moving = both[0].export(id).expect("it can move");
        check(&both);
        let id = both[1].import(&mut moving).expect("it was exported");
        check(&both);
        assert_eq!(both[0].poll_timeout(), u64::MAX);

        // Another waits on the first thread; only the second has a holder to ask.
        let waiter = both[0].attach(0, 2).expect("there is room");
        both[0].handle(waiter, Event::Readable).expect("it is attached");
        // Two leases, in steps of an eighth of one at most.
        for now_ns in (round * 1000..round * 1000 + 40).step_by(2) {
            both.iter_mut().for_each(|receivers| receivers.handle_timeout(now_ns));
        }
        assert_eq!(both[0].poll_grant(), None);
        let asked = std::iter::from_fn(|| both[1].poll_grant()).last();
        assert!(
            matches!(asked, Some(Granted::Receiver { id: shed, actions, .. }) if shed == id && actions.has(Action::Shed))
        );
        check(&both);
        both[1].handle(id, Event::Close).expect("it is attached");

        // The memory is used again where it was first.
        assert!(matches!(both[0].poll_grant(), Some(Granted::Receiver { id, .. }) if id == waiter));
        both[0].handle(waiter, Event::Received { bytes: 5 }).expect("there is room");
        check(&both);
        both[0].handle(waiter, Event::Close).expect("it is attached");
        check(&both);
    }
}

/// A buffer that a receiver gives to the host and gets back has a deadline only while it is a receiver's.
#[test]
fn s89_deadline_ends_when_the_host_takes_the_buffer() {
    let (_threads, mut both) = two_with_deadlines();
    for from in [0, 1, 0] {
        let id = holder(&mut both[from]);
        let taken = both[from].take(id).expect("it is in a buffer");
        check(&both);
        both[from].handle(id, Event::Close).expect("it is attached");
        let id = both[from].adopt(0, 1, taken).expect("it is the host's");
        check(&both);
        both[from].handle(id, Event::Close).expect("it is attached");
        let Ok(Outcome::Granted(lease)) = both[from].request(0, 0) else { panic!("it is free") };
        check(&both);
        both[from].release(lease).expect("it is the host's");
        check(&both);
    }
}
