//! What must always hold of a pool.

use super::own_actions::host_actions;
use super::table::Place;
use super::{BufferSource, Pool};
use crate::connection::{Action, Actions, Hold};

impl<S: BufferSource> Pool<S> {
    /// Checks what must always hold, walking everything: for tests. Of a shared pool no other thread may be inside a
    /// call.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.source.check_invariants()?;
        self.memory.slots().check()?;
        let (mut waiting, mut in_buffers, mut in_slots, mut buffered_bytes) = (0, 0, 0, 0);
        for index in self.table.iter() {
            let (connection, place) = (self.table.connection(index), self.table.place(index));
            let granted = self.table.deferred_grant(index);
            let waits = self.table.has_wait_or_grant(index);
            waiting += u32::from(waits && granted.is_none());
            in_buffers += u32::from(granted.is_some());
            if granted.is_some_and(|buffer| self.table.holder(buffer) != Some(index) || !connection.is_in_flight()) {
                return Err("I2: a grant is deferred only while a receive is in flight");
            }
            // One that holds a buffer and waits is waiting for a larger one.
            let grows = waits && matches!(place, Place::Buffer(_));
            if connection.is_waiting() != (waits && !grows) {
                return Err("I2: a receiver waits exactly when its connection does");
            }
            let agrees = match place {
                Place::Nowhere => connection.hold() == Hold::None,
                Place::Slot(slot) => connection.hold() == Hold::Slot && self.memory.slots().is_taken(slot),
                Place::Buffer(buffer) => connection.hold() == Hold::Buffer && self.table.holder(buffer) == Some(index),
            };
            if !agrees {
                return Err("I2: a receiver holds exactly what its connection does");
            }
            in_slots += u32::from(matches!(place, Place::Slot(_)));
            in_buffers += u32::from(matches!(place, Place::Buffer(_)));
            if self.table.start(index) + connection.buffered_bytes() > connection.capacity() {
                return Err("I5: the content lies inside what is held");
            }
            // What was buffered went with `Close`, though a receive in flight may go on into its memory.
            buffered_bytes += if connection.is_open() { u64::from(connection.buffered_bytes()) } else { 0 };
            let undone = connection.pending().without(host_actions(connection.pending()));
            if !undone.is_empty() && undone != Actions::from(Action::Park) {
                return Err("I4: what the receiver does by itself is done");
            }
        }
        let stats = self.stats();
        if in_slots != stats.slots_in_use || in_buffers > stats.scheduler.leased {
            return Err("I1: every slot and every buffer in use has a holder");
        }
        let gone_bytes = stats.consumed_bytes + stats.dropped_bytes + stats.taken_bytes;
        if stats.received_bytes != gone_bytes + buffered_bytes {
            return Err("I5: every byte that came in is buffered or was counted");
        }
        if waiting + self.host_waits != self.source.waits() {
            return Err("I2: every waiting receiver is in the pool's queue");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AttachOptions, PoolConfig};
    use super::*;
    use crate::connection::{Event, Mode};
    use crate::scheduler::{LeaseId, Outcome};

    /// Row 0 receives into a slot and was granted a buffer meanwhile, row 1 has 5 bytes in a buffer, row 2 waits with a
    /// slot lent to it.
    fn pool() -> Pool {
        let mut config = PoolConfig::new(2, 4);
        config.policy.mode = Mode::Completion;
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let leases: [LeaseId; 2] = core::array::from_fn(|_| match pool.request(0, 9) {
            Ok(Outcome::Granted(lease)) => lease,
            other => panic!("a buffer is free: {other:?}"),
        });
        for (row, lease) in (0..).zip(leases) {
            let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
            pool.handle(id, Event::done(Action::Recv)).expect("it may receive into its slot");
            pool.release(lease).expect("it is the host's");
            pool.poll_notice().expect("it was handed over");
            if row == 1 {
                pool.handle(id, Event::Received { bytes: 5 }).expect("there is room");
            }
        }
        pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
        assert_eq!(pool.check_invariants(), Ok(()));
        pool
    }

    /// The buffer that row 1 holds.
    fn buffer(pool: &Pool) -> u32 {
        match pool.table.place(1) {
            Place::Buffer(buffer) => buffer,
            other => panic!("it is in a buffer: {other:?}"),
        }
    }

    fn feed(pool: &mut Pool, row: u32, event: Event) {
        pool.table.connection_mut(row).apply_event(event).expect("the event makes sense");
    }

    fn assert_named(rule: &str, broken: &[fn(&mut Pool)]) {
        for (case, breaks) in broken.iter().enumerate() {
            let mut pool = pool();
            breaks(&mut pool);
            assert_eq!(pool.check_invariants(), Err(rule), "case {case}");
        }
    }

    #[test]
    fn row_that_contradicts_its_connection_is_named() {
        assert_named(
            "I2: a grant is deferred only while a receive is in flight",
            &[
                |pool| feed(pool, 0, Event::WouldBlock),
                |pool| {
                    let granted = pool.table.deferred_grant(0).expect("it was granted one");
                    pool.table.set_place(2, Place::Buffer(granted));
                },
            ],
        );
        assert_named(
            "I2: a receiver waits exactly when its connection does",
            &[
                |pool| pool.table.set_wait(2, None),
                |pool| pool.table.set_deferred_grant(0, None),
                |pool| feed(pool, 2, Event::BufferGranted { capacity: 64 }),
            ],
        );
        assert_named(
            "I2: a receiver holds exactly what its connection does",
            &[
                |pool| _ = pool.table.set_place(0, Place::Nowhere),
                |pool| _ = pool.table.set_place(1, Place::Nowhere),
                |pool| _ = pool.table.set_place(1, pool.table.place(2)),
                |pool| _ = pool.table.set_place(2, Place::Buffer(buffer(pool))),
                |pool| match pool.table.place(2) {
                    Place::Slot(slot) => pool.memory.slots_mut().give(slot).expect("it is taken"),
                    other => panic!("it has a slot: {other:?}"),
                },
            ],
        );
    }

    #[test]
    fn content_that_does_not_lie_in_what_is_held_is_named() {
        let mut pool = pool();
        let room = pool.table.connection(1).capacity() - 5;
        pool.table.set_start(buffer(&pool), room);
        assert_eq!(pool.check_invariants(), Ok(()));
        pool.table.set_start(buffer(&pool), room + 1);
        assert_eq!(pool.check_invariants(), Err("I5: the content lies inside what is held"));
    }

    #[test]
    fn what_is_not_done_or_has_no_holder_is_named() {
        assert_named(
            "I4: what the receiver does by itself is done",
            &[|pool| {
                feed(pool, 1, Event::PauseRecv);
                feed(pool, 1, Event::Consumed { bytes: 5 });
            }],
        );
        assert_named(
            "I1: every slot and every buffer in use has a holder",
            &[
                |pool| _ = pool.memory.slots_mut().take_smallest(),
                |pool| {
                    let buffer = buffer(pool);
                    pool.source.release_at(buffer);
                },
            ],
        );
        assert_named(
            "I5: every byte that came in is buffered or was counted",
            &[
                |pool| pool.counts.received_bytes += 1,
                |pool| pool.counts.dropped_bytes += 1,
                |pool| feed(pool, 1, Event::Consumed { bytes: 1 }),
            ],
        );
        assert_named("I2: every waiting receiver is in the pool's queue", &[|pool| pool.host_waits += 1]);
    }
}
