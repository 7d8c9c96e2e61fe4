//! What is not needed any more: it is overwritten if the pool wipes, and taken back from memory checkers.
//!
//! A step lends what it returns. Kept bytes may move with each call, so that what was lent of them is taken back then.

use super::borrow::Lender;
use super::buffers::Buffers;
use super::sizes::Size;
use super::{NIL, Receiving};
use crate::memory::poison;

impl<B: Buffers> Receiving<B> {
    /// Whether what is not needed any more is overwritten.
    pub(crate) fn wipes(&self) -> bool {
        self.wipes
    }

    /// Whether something is to be done with what is not needed any more.
    pub(crate) fn must_retire(&self) -> bool {
        poison::IS_ON || self.wipes
    }

    /// What is in a buffer is not needed any more.
    #[inline(always)]
    pub(super) fn retire(&mut self, buffer: u32) {
        self.arena.retire(buffer, self.wipes);
    }

    /// A buffer is free.
    pub(crate) fn give(&mut self, buffer: u32) {
        self.retire(buffer);
        self.buffers.give(buffer);
    }

    /// A borrow of this buffer is closed, and its content is elsewhere or gone.
    pub(super) fn end_use(&mut self, buffer: u32, lender: Lender) {
        match lender {
            Lender::Thread => self.retire(buffer),
            Lender::Pool => self.give(buffer),
            Lender::Receiver => {}
        }
    }

    /// What is in a cell, here, is not needed any more.
    pub(super) fn retire_cell(&mut self, size: Size, (buffer, start): (u32, usize)) {
        if self.wipes {
            self.arena.wipe(buffer, start..start + self.cells.sizes.bytes(size) as usize);
        }
        self.take_back(buffer);
    }

    /// A buffer that was borrowed is cut, and of its cells this content alone is there.
    pub(super) fn wipe_around(&mut self, (buffer, start): (u32, usize), bytes: u32) {
        if self.wipes {
            let end = start + bytes as usize;
            self.arena.wipe(buffer, 0..start);
            self.arena.wipe(buffer, end..self.config.buffer_bytes as usize);
        }
    }

    /// The host has no use of a buffer now.
    #[inline(always)]
    pub(super) fn take_back(&self, buffer: u32) {
        self.arena.lend(buffer, 0..0);
    }

    /// The host has no use of kept bytes now.
    #[inline(always)]
    pub(crate) fn take_back_kept(&self) {
        if !poison::IS_ON {
            return;
        }
        for (keeper, _) in self.keepers.iter().filter(|(_, keeper)| keeper.borrow == NIL && keeper.kept_bytes > 0) {
            self.take_back(self.where_is(keeper).0);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::connection::{Action, Event};
    use crate::pool::{AttachOptions, Pool, PoolConfig, ReceiverId};
    use crate::scheduler::Request;
    use alloc::vec::Vec;

    const SECRET: u8 = 0x5e;

    fn pool(wipe: bool) -> Pool {
        let config = PoolConfig { buffer_bytes: 256, wipe, ..PoolConfig::new(8 * 256, 8) };
        Pool::new(&config).expect("the configuration is allowed")
    }

    /// Bytes of peers, wherever they are.
    fn secrets(pool: &Pool) -> usize {
        let all = (0..pool.memory.split().buffers).flat_map(|buffer| pool.memory.arena().buffer(buffer));
        all.filter(|&&byte| byte == SECRET).count()
    }

    fn attach(pool: &mut Pool) -> ReceiverId {
        pool.attach(&AttachOptions::new(0, 0)).expect("there is room")
    }

    /// Fills all the room that there is, and receives this much of it.
    fn receive(pool: &mut Pool, id: ReceiverId, bytes: u32) {
        pool.handle(id, Event::Readable).expect("it is attached");
        pool.receive_area(id).expect("it is attached").fill(SECRET);
        pool.handle(id, Event::Received { bytes }).expect("there is room");
    }

    /// Each way in which bytes are not needed any more.
    #[test]
    fn what_is_not_needed_is_wiped() {
        type Way = fn(&mut Pool, ReceiverId);
        let ways: [(&str, usize, Way); 9] = [
            ("decoded", 0, |pool, id| {
                receive(pool, id, 100);
                pool.decoded(id, 100, 0).expect("they are there");
            }),
            ("nothing received", 0, |pool, id| {
                pool.handle(id, Event::Readable).expect("it is attached");
                pool.receive_area(id).expect("it is attached").fill(SECRET);
                pool.handle(id, Event::WouldBlock).expect("it receives");
            }),
            ("closed", 0, |pool, id| {
                receive(pool, id, 100);
                pool.handle(id, Event::Close).expect("it is attached");
            }),
            ("failed", 0, |pool, id| {
                receive(pool, id, 100);
                pool.handle(id, Event::Fail).expect("it is attached");
            }),
            ("kept in a small cell", 20, |pool, id| {
                receive(pool, id, 20);
                pool.decoded(id, 0, 1).expect("they are there");
            }),
            ("kept, and decoded", 0, |pool, id| {
                receive(pool, id, 100);
                pool.decoded(id, 0, 1).expect("they are there");
                receive(pool, id, 1);
                pool.decoded(id, 101, 0).expect("they are there");
            }),
            ("kept where it was received", 100, |pool, id| {
                let beside = attach(pool);
                pool.handle(beside, Event::Readable).expect("it is attached");
                receive(pool, id, 100);
                // No other place is left.
                while let Ok(Some(_)) = pool.try_request(&Request::new(0, 0)) {}
                pool.decoded(id, 0, 1).expect("they are there");
            }),
            ("taken and released", 0, |pool, id| {
                receive(pool, id, 100);
                let lease = pool.take(id).expect("a buffer is free").lease;
                pool.release(lease).expect("it is the host's");
            }),
            ("put off", 100, |pool, id| {
                receive(pool, id, 100);
                pool.handle_timeout(1);
            }),
        ];
        for (name, left, way) in ways {
            for wipe in [true, false] {
                let mut pool = pool(wipe);
                let id = attach(&mut pool);
                way(&mut pool, id);
                assert_eq!(secrets(&pool) == left, wipe, "{name}: {} bytes are there", secrets(&pool));
                assert_eq!(pool.check_invariants(), Ok(()));
            }
        }
    }

    /// Whatever moved, nothing is left when all are gone.
    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn nothing_is_left_of_receivers_that_are_gone() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let mut pool = pool(true);
            let (mut ids, mut leases): (Vec<ReceiverId>, Vec<_>) = (Vec::new(), Vec::new());
            for now_ns in 1..100 {
                while ids.len() < 8 {
                    ids.push(attach(&mut pool));
                }
                let at = random.usize(0..8);
                let id = ids[at];
                let actions = pool.handle(id, Event::Readable).expect("it is attached");
                if actions.has(Action::Recv) {
                    let area = pool.receive_area(id).expect("it is attached");
                    area.fill(SECRET);
                    let bytes = random.u32(1..=area.len() as u32);
                    pool.handle(id, Event::Received { bytes }).expect("there is room");
                }
                let buffered_bytes = pool.connection(id).expect("it is attached").buffered_bytes();
                let consumed_bytes = if random.bool() { random.u32(0..=buffered_bytes) } else { 0 };
                let _refused = match random.u8(0..6) {
                    0 => pool.handle(ids.swap_remove(at), Event::Close),
                    1 => pool.take(id).map(|content| leases.push(content.lease)).and(pool.pending(id)),
                    _ => pool.decoded(id, consumed_bytes, u32::from(consumed_bytes < buffered_bytes)),
                };
                if random.bool() {
                    leases.pop().into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
                    pool.handle_timeout(now_ns * 50_000_000);
                    // Nothing is borrowed: what is there is kept, or the host's. One that has a whole buffer has all of
                    // it.
                    let kept_bytes = |&id: &ReceiverId| {
                        let index = pool.table.find(id).expect("it is attached");
                        let facts = pool.memory.facts(index).expect("it is attached");
                        if facts.cell_bytes == 256 { 256 } else { facts.kept_bytes as usize }
                    };
                    let all_bytes = ids.iter().map(kept_bytes).sum::<usize>() + 256 * leases.len();
                    assert!(secrets(&pool) <= all_bytes, "{} bytes of {all_bytes}", secrets(&pool));
                    while pool.poll_notice().is_some() {}
                }
                assert_eq!(pool.check_invariants(), Ok(()));
            }
            ids.into_iter().for_each(|id| assert!(pool.handle(id, Event::Close).is_ok()));
            leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
            assert_eq!(secrets(&pool), 0);
        }
    }
}
