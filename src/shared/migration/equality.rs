//! Moves that have a step of their own against those that have none: each by both, between the shards of two shared
//! pools that are made alike.

use super::*;
use crate::connection::{Action, Mode, Policy};
use crate::pool::{PoolConfig, ReceiverId};
use crate::scheduler::{Request, TenantConfig, TenantId};
use crate::shared::SharedPool;
use alloc::vec::Vec;

const RECEIVERS: u32 = 6;
const BUFFER_BYTES: u32 = 256;

/// A shared pool, and the pools of its threads.
struct Side {
    _shared: SharedPool,
    shards: [Pool<PoolShard>; 2],
    tenant: Option<TenantId>,
}

impl Side {
    fn new(config: &PoolConfig) -> Side {
        let shared = SharedPool::new(config, 2).expect("the configuration is allowed");
        let mut shards = [0, 1].map(|index| shared.shard(index).expect("it is free"));
        let tenant_config = TenantConfig { cap: 2, ..TenantConfig::default() };
        let tenant = (config.tenants_max > 0).then(|| shards[0].create_tenant(&tenant_config).expect("there is room"));
        Side { _shared: shared, shards, tenant }
    }
}

/// Where a receiver is.
#[derive(Clone, Copy, Debug)]
struct Home {
    shard: usize,
    id: ReceiverId,
}

/// Two of each: the first moves by steps where there are some, the other never.
struct Twins {
    sides: [Side; 2],
    homes: Vec<Home>,
    leases: Vec<[LeaseId; 2]>,
    now_ns: u64,
    /// A receiver that counts cannot be one of unknown length.
    counting: bool,
    moved: [u32; WAYS],
}

/// Ways to move: by a step, at rest, or with the receive buffer; by a step, to decode; and by none.
const AT_REST: usize = 0;
const RECEIVED: usize = 1;
const TO_DECODE: usize = 2;
const OTHERWISE: usize = 3;
const WAYS: usize = 4;

impl Twins {
    fn new(config: &PoolConfig) -> Twins {
        let sides = [(); 2].map(|()| Side::new(config));
        let (homes, leases, counting) = (Vec::new(), Vec::new(), config.policy.counting);
        let mut twins = Twins { sides, homes, leases, now_ns: 0, counting, moved: [0; WAYS] };
        twins.homes = (0..RECEIVERS as usize).map(|at| twins.attach(at)).collect();
        twins
    }

    /// The pools of one thread, of both.
    fn shards(&mut self, shard: usize) -> [&mut Pool<PoolShard>; 2] {
        self.sides.each_mut().map(|side| &mut side.shards[shard])
    }

    fn attach(&mut self, at: usize) -> Home {
        let (shard, unknown_length) = (at % 2, at == 5 && !self.counting);
        let [id, other] = self.sides.each_mut().map(|side| {
            let tenant = side.tenant.filter(|_| at < 3);
            let options = AttachOptions { tenant, unknown_length, ..AttachOptions::new(0, at as u64) };
            side.shards[shard].attach(&options).expect("there is room")
        });
        assert_eq!(id, other);
        Home { shard, id }
    }

    /// What is likely to come next for a receiver, or anything.
    fn draw(&self, random: &mut fastrand::Rng, Home { shard, id }: Home) -> Event {
        let pool = &self.sides[1].shards[shard];
        let (pending, connection) = (pool.pending(id), pool.connection(id));
        let (pending, connection) = (pending.expect("it is attached"), connection.expect("it is attached"));
        let buffered_bytes = connection.buffered_bytes();
        let sizes = [1, 20, 64, 65, 100, 200, BUFFER_BYTES - 1];
        let size = sizes[random.usize(..sizes.len())];
        match random.u8(0..32) {
            0 if random.bool() => Event::PauseRecv,
            1 => Event::Block { reasons: 1 },
            2 => Event::Unblock { reasons: 1 },
            3 => Event::Consumed { bytes: buffered_bytes / 2 },
            4 if random.u8(0..4) == 0 => Event::PeerClosed,
            5 if random.u8(0..4) == 0 => Event::Close,
            _ if pending.has(Action::Shed) || pending.has(Action::CannotFit) => Event::Close,
            _ if pending.has(Action::End) => Event::done(Action::End),
            _ if connection.end().is_some() && random.bool() => Event::Close,
            6 if pending.has(Action::Recv) => Event::EndOfStream,
            7..10 if pending.has(Action::Recv) => Event::WouldBlock,
            10..14 if pending.has(Action::Recv) && connection.policy().mode == Mode::Completion => {
                Event::done(Action::Recv)
            }
            8..18 if pending.has(Action::Decode) => Event::Consumed { bytes: buffered_bytes },
            _ if pending.has(Action::Decode) => Event::NeedMore { bytes: random.u32(1..30) },
            _ if pending.has(Action::Recv) || connection.is_in_flight() => Event::Received { bytes: size },
            _ if pending.has(Action::StopRecv) => Event::done(Action::StopRecv),
            _ if pending.has(Action::WantRecv) && random.u8(0..3) > 0 => Event::done(Action::WantRecv),
            _ if connection.is_paused() => Event::ResumeRecv,
            _ if connection.blocked() != 0 => Event::Unblock { reasons: 1 },
            _ => Event::Readable,
        }
    }

    /// One event of a receiver; a receiver that is closed is attached anew.
    fn report(&mut self, random: &mut fastrand::Rng, at: usize) {
        let event = self.draw(random, self.homes[at]);
        self.handle(at, event, random.u8(..));
    }

    /// A receiver decodes all that it has, and receives again.
    fn receive(&mut self, random: &mut fastrand::Rng, at: usize) {
        let Home { shard, id } = self.homes[at];
        let bytes = self.sides[1].shards[shard].connection(id).expect("it is attached").buffered_bytes();
        self.handle(at, Event::Unblock { reasons: 1 }, 0);
        self.handle(at, Event::ResumeRecv, 0);
        self.handle(at, Event::Consumed { bytes }, 0);
        self.handle(at, Event::done(Action::WantRecv), 0);
        self.handle(at, Event::Readable, 0);
        self.handle(at, Event::Received { bytes: random.u32(60..BUFFER_BYTES) }, random.u8(..));
    }

    /// An event of a receiver, whose receive area is filled before.
    fn handle(&mut self, at: usize, event: Event, byte: u8) {
        let Home { shard, id } = self.homes[at];
        let [actions, others] = self.shards(shard).map(|pool| {
            pool.receive_area(id).expect("it is attached").fill(byte);
            pool.handle(id, event)
        });
        assert_eq!(actions, others, "{event:?}");
        if actions.is_ok_and(|actions| actions.has(Action::Finished)) {
            self.homes[at] = self.attach(at);
        }
    }

    /// A receiver moves, if it can; otherwise it stays.
    fn migrate(&mut self, random: &mut fastrand::Rng, at: usize) {
        let Home { shard, id } = self.homes[at];
        let [by_steps, slow] = self.shards(shard);
        let way = match by_steps.undecoded_bytes(id) {
            _ if slow.table.find(id).is_ok_and(|index| by_steps.is_at_rest(index)) => AT_REST,
            bytes if bytes as usize > KEPT_MAX => RECEIVED,
            _ => OTHERWISE,
        };
        let leaving = [by_steps.export(id), slow.table.find(id).and_then(|index| slow.export_slowly(index))];
        let [mut moved, mut other] = match leaving {
            [Ok(moved), Ok(other)] => [moved, other],
            [moved, other] => return assert_eq!(moved.map(|_| ()), other.map(|_| ())),
        };
        let seen = |exported: &ExportedReceiver| {
            let ExportedReceiver { connection, token, class, lease, offset, kept, moved, ticket, .. } = exported;
            (connection.clone(), (*token, *class, *lease, *offset), *kept, *moved, (ticket.entry, ticket.uses))
        };
        assert_eq!(seen(&moved), seen(&other));
        // A thread that has no buffer for it leaves it to the other one.
        for shard in [random.usize(0..2), 0, 1] {
            let [by_steps, slow] = self.shards(shard);
            let imported = by_steps.import(&mut moved);
            assert_eq!(imported, slow.import_slowly(&mut other));
            if let Ok(id) = imported {
                assert_eq!(by_steps.import(&mut moved), Err(PoolError::Stale), "it is cleared");
                let is_to_decode = by_steps.fast_path().has_kept_cycle();
                self.homes[at] = Home { shard, id };
                self.moved[way] += 1;
                self.moved[TO_DECODE] += u32::from(is_to_decode);
                return;
            }
            self.release_all();
        }
        panic!("there is no room for it, though the host has no buffer");
    }

    /// The host takes a buffer of a thread.
    fn take(&mut self, shard: usize) {
        let taken = self.shards(shard).map(|pool| pool.try_request(&Request::new(0, 0)).expect("it is allowed"));
        assert_eq!(taken[0], taken[1]);
        self.leases.extend(taken[0].zip(taken[1]).map(|(one, other)| [one, other]));
    }

    fn release_all(&mut self) {
        for leases in core::mem::take(&mut self.leases) {
            for (pool, lease) in self.shards(0).into_iter().zip(leases) {
                pool.release_within(lease, crate::memory::Reach::ANYWHERE).expect("it is the host's");
            }
        }
    }

    /// An iteration of both loops ends.
    fn end_iteration(&mut self, random: &mut fastrand::Rng) {
        self.now_ns += random.u64(0..200_000_000);
        let now_ns = self.now_ns;
        for shard in 0..2 {
            let [pool, other] = self.shards(shard);
            pool.handle_timeout(now_ns);
            other.handle_timeout(now_ns);
            loop {
                let notice = pool.poll_notice();
                assert_eq!(notice, other.poll_notice());
                if notice.is_none() {
                    break;
                }
            }
        }
    }

    /// Whatever a host can see of the two is the same.
    fn assert_same(&mut self) {
        for shard in 0..2 {
            let [pool, other] = self.shards(shard);
            assert_eq!((pool.check_invariants(), other.check_invariants()), (Ok(()), Ok(())));
            assert_eq!((pool.counts(), pool.totals()), (other.counts(), other.totals()));
            assert_eq!((pool.stats(), pool.poll_timeout()), (other.stats(), other.poll_timeout()));
        }
        for Home { shard, id } in self.homes.clone() {
            let [pool, other] = self.shards(shard);
            assert_eq!(pool.connection(id), other.connection(id));
            assert_eq!((pool.describe(id), pool.pending(id)), (other.describe(id), other.pending(id)));
            assert_eq!(pool.data(id), other.data(id));
            let facts = |pool: &Pool<PoolShard>| {
                let index = pool.table.find(id).expect("it is attached");
                let credit_bytes = pool.memory.facts(index).map(|facts| facts.credit_bytes);
                (credit_bytes, pool.memory.tenant(index), pool.memory.has_unknown_length(index))
            };
            assert_eq!(facts(pool), facts(other));
            let index = pool.table.find(id).expect("it is attached");
            if let Some(step) = pool.fast_path().pending(id).or_else(|| pool.kept_path::<false>().pending(id)) {
                let (pending, place) = (pool.pending_at(index), pool.place(index, step.actions()));
                assert_eq!(((step.data, step.bytes()), step.actions()), (place, pending));
            }
        }
    }

    fn play(&mut self, random: &mut fastrand::Rng, is_scarce: bool) {
        let mut at = 0;
        for _ in 0..300 {
            if random.u8(0..6) == 0 {
                at = random.usize(..self.homes.len());
            }
            match random.u8(0..16) {
                0..3 => self.migrate(random, at),
                3 => self.end_iteration(random),
                4 if is_scarce => (0..16).for_each(|buffer| self.take(buffer % 2)),
                5 if is_scarce => self.release_all(),
                6 | 7 => {
                    self.receive(random, at);
                    self.migrate(random, at);
                }
                _ => self.report(random, at),
            }
            self.assert_same();
        }
    }
}

#[test]
#[cfg_attr(miri, ignore)] // it takes minutes
fn move_by_a_step_equals_one_without() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut moved = [0; WAYS];
    for mode in Mode::ALL {
        let plain = Policy { mode, ..Policy::default() };
        // An optimistic host cannot count.
        let counting = (mode != Mode::Optimistic).then_some(Policy { counting: true, ..plain });
        for policy in [plain, Policy { reads_ahead: true, ..plain }].into_iter().chain(counting) {
            for (tenants_max, is_scarce) in [(0, false), (0, true), (2, false), (2, true)] {
                let config =
                    PoolConfig { buffer_bytes: BUFFER_BYTES, policy, tenants_max, ..PoolConfig::new(24 * 256, 8) };
                for _ in 0..2 {
                    let mut twins = Twins::new(&config);
                    twins.play(&mut random, is_scarce);
                    (0..WAYS).for_each(|way| moved[way] += twins.moved[way]);
                }
            }
        }
    }
    // Where memory that is not lent is poisoned, steps that pass bytes on are not tried.
    assert!(cfg!(feature = "poison") || moved.iter().all(|&moved| moved > 100), "{moved:?}");
}
