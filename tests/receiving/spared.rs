//! Content that is not evicted although its deadline has passed: its host had no iteration yet to report the rest.

use super::{MS, receive};
use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, BufferSource, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{Outcome, Request};
use demuxbuf::shared::SharedPool;
use demuxbuf_testkit::in_modes;

const STEP_NS: u64 = 125 * MS;
/// Of the frame that arrives late, which is due after 1.11 s, in the ninth step.
const FRAME_BYTES: u32 = 900;
const DUE_STEP: u64 = 9;
const KEPT_BYTES: u32 = 100;
/// Of the cell that these are in.
const CELL_BYTES: u32 = 256;

fn config(mode: Mode) -> PoolConfig {
    let policy = Policy { mode, ..Policy::default() };
    PoolConfig { buffer_bytes: 1024, waiters_max: 4, policy, ..PoolConfig::new(24 * 1024, 8) }
}

fn attach<S: BufferSource>(pool: &mut Pool<S>) -> ReceiverId {
    pool.attach(&AttachOptions::new(0, 0)).expect("there is room")
}

/// The host has all that is free.
fn lease_all<S: BufferSource>(pool: &mut Pool<S>) {
    while pool.try_request(&Request::new(0, 0)).expect("it is allowed").is_some() {}
}

/// A loop iteration begins, in which nothing else happens to the receiver.
fn begin_step<S: BufferSource>(pool: &mut Pool<S>, step: u64) {
    pool.handle_timeout(step * STEP_NS);
    while pool.poll_notice().is_some() {}
}

fn is_shed<S: BufferSource>(pool: &Pool<S>, id: ReceiverId) -> bool {
    pool.pending(id).expect("it is attached").has(Action::Shed)
}

/// The receiver, which is readable, receives in its trial all that its frame lacks.
fn receive_rest<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, bytes: u32) {
    assert!(!pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv), "it has no room");
    pool.poll_notice().expect("its trial is due");
    assert!(pool.pending(id).expect("it is attached").has(Action::Recv));
    pool.handle(id, Event::Received { bytes }).expect("there is room");
    pool.decoded(id, FRAME_BYTES, 0).expect("it is whole");
    assert!(!is_shed(pool, id), "its frame was whole in time");
}

/// A receiver of which all came before its deadline has no more room than that of its cell for it at first.
fn fill_cell(mode: Mode) -> (Pool, ReceiverId) {
    let mut pool = Pool::new(&config(mode)).expect("the configuration is allowed");
    pool.handle_timeout(0);
    let id = attach(&mut pool);
    receive(&mut pool, id, &[1; KEPT_BYTES as usize], FRAME_BYTES - KEPT_BYTES);
    lease_all(&mut pool);
    (1..=DUE_STEP).for_each(|step| begin_step(&mut pool, step));
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    let room = pool.receive_area(id).expect("it is attached").len() as u32;
    assert_eq!(room, CELL_BYTES - KEPT_BYTES);
    pool.handle(id, Event::Received { bytes: room }).expect("there is room");
    (pool, id)
}

/// The others are readable before it in the next iteration, and need what it keeps.
#[test]
fn content_of_a_full_cell_awaits_a_report() {
    in_modes(&[Mode::Level, Mode::OneShot], |mode| {
        let (mut pool, id) = fill_cell(mode);
        while pool.poll_notice().is_some() {}
        begin_step(&mut pool, DUE_STEP + 1);
        let other = attach(&mut pool);
        pool.handle(other, Event::Readable).expect("it is attached");
        pool.handle(other, Event::WouldBlock).expect("it is attached");
        assert!(!is_shed(&pool, id), "its host had no iteration to report the rest");
        receive_rest(&mut pool, id, FRAME_BYTES - CELL_BYTES);
    });
}

/// Its host reports nothing in the iteration after that.
#[test]
fn full_cell_is_spared_for_one_iteration() {
    in_modes(&[Mode::Level, Mode::OneShot], |mode| {
        let (mut pool, id) = fill_cell(mode);
        begin_step(&mut pool, DUE_STEP + 1);
        begin_step(&mut pool, DUE_STEP + 2);
        let other = attach(&mut pool);
        pool.handle(other, Event::Readable).expect("it is attached");
        assert!(is_shed(&pool, id), "it is late");
    });
}

/// In the iterations of its first thread, which has time for more than one of the other's, it was not late yet.
#[test]
fn imported_content_awaits_a_report_on_its_thread() {
    let shared_pool = SharedPool::new(&config(Mode::Level), 2).expect("the configuration is allowed");
    let [mut from, mut to] = [0, 1].map(|index| shared_pool.shard(index).expect("it is free"));
    [&mut from, &mut to].into_iter().for_each(|pool| begin_step(pool, 0));
    let id = attach(&mut from);
    receive(&mut from, id, &[1; KEPT_BYTES as usize], FRAME_BYTES - KEPT_BYTES);
    for step in 1..=DUE_STEP {
        [&mut from, &mut to].into_iter().for_each(|pool| begin_step(pool, step));
    }
    let mut exported = from.export(id).expect("a buffer is free");
    to.handle_timeout(DUE_STEP * STEP_NS + MS);
    lease_all(&mut to);
    let id = to.import(&mut exported).expect("there is room");
    assert!(matches!(to.request(0, 0), Ok(Outcome::Queued(_))), "the host waits for what it keeps");
    while to.poll_notice().is_some() {}
    assert!(!is_shed(&to, id), "its host had no iteration to report the rest");
    to.handle_timeout(DUE_STEP * STEP_NS + 2 * MS);
    while to.poll_notice().is_some() {}
    assert!(!is_shed(&to, id), "what was there is reported in this iteration");
    to.handle_timeout(DUE_STEP * STEP_NS + 3 * MS);
    while to.poll_notice().is_some() {}
    assert!(is_shed(&to, id), "it is late");
}
