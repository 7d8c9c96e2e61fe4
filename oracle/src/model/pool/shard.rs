//! The pools of threads that share one: what differs.

use super::deadlines::Deadlines;
use super::step::Standing;
use super::{ModelPool, Receiver, memory_of, requests_of};
use crate::model::receiving::{Fixed, Limited, Moved, Shard, reserve};
use crate::model::shards::Desk;
use crate::model::{ModelConnection, ModelReceiving, ModelScheduler, ModelSharedPool};
use crate::receiving_system::ReceivingSystem;
use crate::system::{Ask, Cell, System, UNKNOWN_SIZE};
use demuxbuf::connection::{Action, Event, Hold};
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::{SchedulerConfig, WaitInfo};
use demuxbuf_capi::*;
use std::collections::BTreeMap;

/// Each thread has a receive buffer, header buffers and a spare.
fn fixed(config: &PoolConfig, threads: u32) -> Fixed {
    let always = threads * (1 + ModelReceiving::header_buffers_of(&memory_of(config), threads));
    Fixed { threads, always, spares: threads }
}

impl ModelPool {
    /// The pools of threads that share this one.
    pub(in crate::model) fn of_threads(config: &PoolConfig, threads: u32) -> (ModelSharedPool, Vec<ModelPool>) {
        let (own, fixed) = (requests_of(config), fixed(config, threads));
        let (class, mut all) = (usize::from(own.classes) - 1, own);
        // A class more, of shards that wait for receivers without credit.
        all.classes += 1;
        all.reserves[class + 1] = own.reserves[class] + reserve(&own, own.buffers, fixed);
        all.class_caps[class + 1] = own.class_caps[class];
        (all.waiters_max, all.lease_ns) = ((own.waiters_max + 1) * threads, None);
        let mut scheduler = ModelScheduler::new(&all);
        let class = class as u8;
        let mut take =
            || scheduler.try_request_timed(Ask::new(class, 0), false).expect("it is allowed").expect("one is free");
        let each = (fixed.always + fixed.spares) / threads;
        let always = (0..threads).map(|_| (0..each).map(|_| take()).collect()).collect();
        let shared = ModelSharedPool::with_scheduler(scheduler, always, config.frame_grace_ns);
        let pools = (0..threads).map(|here| ModelPool::of_thread(&shared, config, threads, here as usize)).collect();
        (shared, pools)
    }

    /// The pool of a thread that has none.
    pub(in crate::model) fn of_thread(
        shared: &ModelSharedPool,
        config: &PoolConfig,
        threads: u32,
        here: usize,
    ) -> ModelPool {
        let class = config.classes - 1;
        let shard = Shard::new(Desk::new(shared.common(), here), class, config.waiters_max);
        let memory = ModelReceiving::with_shard(memory_of(config), threads, class, shard);
        let deadlines = config.lease_ns.map(Deadlines::new);
        ModelPool { threads, deadlines, ..ModelPool::with_memory(config, memory) }
    }

    /// The pool of a thread ends. Returns the host's own buffers, with what is known to be in them.
    pub fn end(mut self) -> BTreeMap<u64, Vec<Cell>> {
        let Fixed { always, spares, .. } = fixed(&self.config, self.threads);
        let held = self.memory.end_shard();
        self.desk().end(held, ((always + spares) / self.threads) as usize);
        self.buffers
    }

    /// A buffer of the host's own that the pool of a thread left is this thread's.
    pub fn take_left(&mut self, lease: u64, known: Vec<Cell>) {
        self.buffers.insert(lease, known);
    }

    /// Whether others share its budget.
    pub(super) fn is_of_thread(&self) -> bool {
        self.memory.shard().is_some()
    }

    /// A request takes nothing of what a shard holds: what is received now gets its place afterwards.
    pub(super) fn ask_all<T>(
        &mut self,
        ask: Ask,
        request: impl FnOnce(&mut ModelReceiving) -> Result<T, i32>,
    ) -> Result<T, i32> {
        if ask.size_index > 0 {
            return Err(UNKNOWN_SIZE);
        }
        if ask.class >= self.config.classes {
            return Err(DEMUXBUF_ERR_CLASS);
        }
        if self.desk().is_closed() {
            return Err(DEMUXBUF_ERR_POOL_CLOSED);
        }
        let asked = request(&mut self.memory)?;
        self.memory.secure_borrow();
        Ok(asked)
    }

    /// The memory of all threads has another limit from now on.
    pub(super) fn limit_all(&mut self, requests: &SchedulerConfig, limit: u32) -> Result<(), ()> {
        let fixed = fixed(&self.config, self.threads);
        let Limited { withheld, reserve } = Limited::new(requests, fixed, limit).ok_or(())?;
        let class = requests.classes;
        self.memory.call_scheduler(|scheduler| {
            scheduler.set_reserve(class, scheduler.reserve(class - 1) + reserve);
            scheduler.set_withheld(withheld);
        });
        Ok(())
    }
}

impl ModelReceiving {
    /// Ends a wait of the host's own.
    pub(super) fn cancel_own(&mut self, wait: u64) -> Result<(), i32> {
        let Some(shard) = self.shard() else {
            return self.call_scheduler(|scheduler| scheduler.cancel(wait));
        };
        if shard.is_host_wait(wait) && shard.cancel(wait) { Ok(()) } else { Err(DEMUXBUF_ERR_STALE) }
    }

    pub(super) fn describe_own_wait(&self, wait: u64) -> Option<Result<WaitInfo, i32>> {
        match self.shard().is_some_and(|shard| !shard.is_host_wait(wait)) {
            true => Some(Err(DEMUXBUF_ERR_STALE)),
            false => self.look_at_scheduler(|scheduler| scheduler.describe_wait(wait)),
        }
    }
}

/// A receiver between two threads, with what it keeps.
#[derive(Clone, Debug)]
pub struct ModelExported {
    connection: ModelConnection,
    token: u64,
    class: u8,
    /// The buffer of more than 64 bytes, and where the content begins in it.
    lease: Option<(u64, u32)>,
    moved: Moved,
}

impl ModelPool {
    /// Takes a receiver off this thread.
    ///
    /// # Errors
    ///
    /// The status of the refusal.
    pub fn export(&mut self, id: u64) -> Result<ModelExported, i32> {
        self.check_movable(id)?;
        let exports = self.desk().exports();
        if exports == self.threads * self.config.receivers_max {
            return Err(DEMUXBUF_ERR_EXPORTS_FULL);
        }
        let Receiver { ref connection, row, token, class, .. } = self.receivers[&id];
        let (content, moved) = (connection.content(), self.memory.moved(row));
        let mut lease = None;
        if content.len() > 64 {
            self.memory.make_ready();
            self.memory.secure_borrow();
            let left = self.memory.take(row).ok_or(DEMUXBUF_ERR_NO_BUFFER_FREE)?;
            lease = Some((left.lease, left.offset));
        }
        let connection = self.connection_to_move(id);
        self.counts.taken_bytes += u64::from(connection.buffered_bytes());
        self.memory.close(row);
        self.remove(id);
        self.desk().set_exports(exports + 1);
        Ok(ModelExported { connection, token, class, lease, moved })
    }

    fn check_movable(&mut self, id: u64) -> Result<(), i32> {
        self.find(id)?;
        self.follow_shed(id);
        if !self.connection(id).is_open() {
            return Err(DEMUXBUF_ERR_CLOSED);
        }
        if self.connection(id).in_flight() {
            return Err(DEMUXBUF_ERR_IN_FLIGHT);
        }
        self.check_not_in_place(id)?;
        self.check_not_looked_at(id)?;
        self.check_nothing_owed(id)?;
        if self.standing(id) == Standing::Shed { Err(DEMUXBUF_ERR_NOT_MOVABLE) } else { Ok(()) }
    }

    /// It has its content in a buffer, or neither, and waits for nothing.
    fn connection_to_move(&self, id: u64) -> ModelConnection {
        let (mut connection, capacity) = (self.connection(id).clone(), self.config.buffer_bytes);
        let mut feed = |event| connection.handle(event, &[]).map(drop).expect("it waits for one, or has one");
        let facts = self.connection(id).facts();
        let is_whole = facts.hold == Hold::Buffer as u8 && facts.capacity == capacity;
        let shows_buffer = facts.waiting || (facts.hold != Hold::None as u8 && !is_whole);
        if shows_buffer {
            feed(Event::BufferGranted { capacity });
        }
        if facts.buffered_bytes == 0 && (shows_buffer || is_whole) {
            feed(Event::BufferReleased);
        }
        connection
    }

    /// Takes in a receiver of another thread; its handle here.
    ///
    /// # Errors
    ///
    /// The status of the refusal; it can be imported elsewhere then.
    pub fn import(&mut self, exported: &ModelExported) -> Result<u64, i32> {
        let ModelExported { ref connection, token, class, lease, moved } = *exported;
        if self.is_full() {
            return Err(DEMUXBUF_ERR_TABLE_FULL);
        }
        let bytes = connection.buffered_bytes();
        let id = self.insert_moved(connection.clone(), token, class, moved.unknown_length);
        let row = self.row(id);
        if let Some((lease, offset)) = lease {
            self.memory.import(row, lease, offset, bytes);
        } else if bytes > 0 && !self.memory.receive_earlier(row, bytes) {
            return self.refuse_attached(id);
        }
        self.memory.set_moved(row, moved);
        self.counts.received_bytes += u64::from(bytes);
        let has_mark = bytes == 0 && self.memory.go_on_under_mark(row, moved);
        let wants_to_receive = bytes == 0 && !has_mark && self.pending_of(id).has(Action::RequestBuffer);
        if wants_to_receive && self.memory.go_on_waiting(row, moved) {
            self.feed(id, Event::BufferDenied);
        }
        self.settle(id);
        self.desk().set_exports(self.desk().exports() - 1);
        Ok(id)
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.memory.shard().expect("receivers move between threads").desk
    }

    fn insert_moved(&mut self, connection: ModelConnection, token: u64, class: u8, unknown_length: bool) -> u64 {
        let row = self.take_row();
        self.memory.attach(row, unknown_length);
        self.next_receiver += 1;
        let (is_scheduled, is_undelivered, mark) = (false, false, 1);
        let has_peer_closed = connection.facts().peer_closed;
        let receiver = Receiver { connection, row, token, class, is_scheduled, is_undelivered, mark };
        self.receivers.insert(self.next_receiver, receiver);
        self.follow_policy(self.next_receiver);
        if has_peer_closed {
            self.memory.peer_closed(row);
        }
        self.next_receiver
    }
}
