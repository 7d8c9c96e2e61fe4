//! The two sides that the hosts run on: the library's receivers, or the machine with the host's own buffers.

use super::{BUFFER_BYTES, CONNECTIONS, STEPS_PER_TURN_MAX, Settings};
use demuxbuf::connection::{Action, Actions, Connection, Event, Hold};
use demuxbuf::pool::{Notice, Pool, PoolConfig, ReceiverId};
use std::collections::VecDeque;

const SLOT_BYTES: u32 = 64;

/// What a host needs of its side; buffers are no concern of its event loop.
pub(super) trait Side {
    fn handle(&mut self, at: usize, event: Event) -> Actions;
    fn pending(&self, at: usize) -> Actions;
    fn connection(&self, at: usize) -> &Connection;
    fn data(&self, at: usize) -> Vec<u8>;
    fn receive_area(&mut self, at: usize) -> &mut [u8];
    /// Submits a receive, which then is in flight.
    fn submit(&mut self, at: usize);
    /// The most bytes the receive in flight may bring.
    fn submitted_bytes(&self, at: usize) -> usize;
    /// The receive in flight brought these bytes.
    fn complete(&mut self, at: usize, bytes: &[u8]);
    fn next_grant(&mut self) -> Option<usize>;
    fn take(&mut self, at: usize) -> Option<Vec<u8>>;
    fn close(&mut self, at: usize);
    fn check(&self);
    fn held(&self) -> u32;
}

/// The library does everything about buffers.
pub(super) struct Convenient {
    pool: Pool,
    ids: Vec<ReceiverId>,
    /// Where the receives in flight go, as the system would keep it.
    in_flight: [(*mut u8, usize); CONNECTIONS],
}

impl Convenient {
    pub(super) fn new(settings: &Settings) -> Convenient {
        let config = PoolConfig {
            buffer_bytes: BUFFER_BYTES,
            slots: settings.slots,
            lifeline: settings.lifeline,
            policy: settings.policy,
            ..PoolConfig::new(settings.buffers, CONNECTIONS as u32)
        };
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let ids = (0..CONNECTIONS).map(|at| pool.attach(0, at as u64).expect("the table has room")).collect();
        Convenient { pool, ids, in_flight: [(std::ptr::null_mut(), 0); CONNECTIONS] }
    }
}

impl Side for Convenient {
    fn handle(&mut self, at: usize, event: Event) -> Actions {
        self.pool.handle(self.ids[at], event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
    }

    fn pending(&self, at: usize) -> Actions {
        self.pool.pending(self.ids[at]).expect("attached")
    }

    fn connection(&self, at: usize) -> &Connection {
        self.pool.connection(self.ids[at]).expect("attached")
    }

    fn data(&self, at: usize) -> Vec<u8> {
        self.pool.data(self.ids[at]).expect("attached").to_vec()
    }

    fn receive_area(&mut self, at: usize) -> &mut [u8] {
        self.pool.receive_area(self.ids[at]).expect("attached")
    }

    fn submit(&mut self, at: usize) {
        let area = self.receive_area(at);
        assert!(!area.is_empty(), "a receive of nothing");
        self.in_flight[at] = (area.as_mut_ptr(), area.len());
        self.handle(at, Event::done(Action::Recv));
    }

    fn submitted_bytes(&self, at: usize) -> usize {
        self.in_flight[at].1
    }

    fn complete(&mut self, at: usize, bytes: &[u8]) {
        assert!(bytes.len() <= self.in_flight[at].1);
        // SAFETY: this many bytes are the receiver's until the outcome of the receive is reported, and nothing borrows
        // them.
        #[allow(unsafe_code, reason = "the test writes as the system would")]
        unsafe {
            self.in_flight[at].0.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.handle(at, Event::Received { bytes: bytes.len() as u32 });
    }

    fn next_grant(&mut self) -> Option<usize> {
        match self.pool.poll_notice()? {
            Notice::Receiver { token, .. } => Some(token as usize),
            notice => unreachable!("this host requests nothing for itself: {notice:?}"),
        }
    }

    fn take(&mut self, at: usize) -> Option<Vec<u8>> {
        let content = self.pool.take(self.ids[at]).ok()?;
        let range = content.offset as usize..(content.offset + content.buffered_bytes) as usize;
        let bytes = self.pool.buffer(content.lease).expect("the lease is the host's")[range].to_vec();
        self.pool.release(content.lease).expect("the lease is the host's");
        Some(bytes)
    }

    fn close(&mut self, at: usize) {
        assert_eq!(self.handle(at, Event::Close), Action::Finished.into());
    }

    fn check(&self) {
        self.pool.check_invariants().expect("the invariants hold");
    }

    fn held(&self) -> u32 {
        let stats = self.pool.stats();
        stats.scheduler.leased + stats.scheduler.assigned + stats.slots_in_use
    }
}

/// The machine alone; the host has its own buffers, slots and queue.
pub(super) struct Bare {
    connections: Vec<Connection>,
    contents: Vec<Vec<u8>>,
    areas: Vec<u8>,
    buffers_free: u32,
    slots_free: u32,
    queue: VecDeque<usize>,
    granted: VecDeque<usize>,
    /// Granted a buffer that cannot be used before the receive in flight into a slot is over.
    kept: [bool; CONNECTIONS],
    held_max: u32,
}

impl Bare {
    pub(super) fn new(settings: &Settings) -> Bare {
        let mut side = Bare {
            connections: vec![Connection::new(settings.policy); CONNECTIONS],
            contents: vec![Vec::new(); CONNECTIONS],
            areas: vec![0; BUFFER_BYTES as usize],
            buffers_free: settings.buffers,
            slots_free: settings.slots,
            queue: VecDeque::new(),
            granted: VecDeque::new(),
            kept: [false; CONNECTIONS],
            held_max: settings.buffers + settings.slots,
        };
        for at in 0..CONNECTIONS {
            side.handle(at, Event::Attach { buffered_bytes: 0, capacity: 0 });
        }
        side
    }

    fn apply_event(&mut self, at: usize, event: Event) -> Actions {
        let result = self.connections[at].handle(event);
        match (event, result) {
            (Event::Consumed { bytes }, Ok(_)) => drop(self.contents[at].drain(..bytes as usize)),
            (Event::Received { bytes }, Ok(_)) => self.contents[at].extend_from_slice(&self.areas[..bytes as usize]),
            _ => {}
        }
        result.unwrap_or_else(|error| panic!("{event:?}: {error}"))
    }

    fn give_buffer(&mut self) {
        match self.queue.pop_front() {
            Some(waiter) => self.granted.push_back(waiter),
            None => self.buffers_free += 1,
        }
    }

    fn release(&mut self, at: usize) {
        match self.connections[at].hold() {
            Hold::Buffer => self.give_buffer(),
            Hold::Slot => self.slots_free += 1,
            Hold::None => panic!("nothing is held that could be released"),
        }
        self.apply_event(at, Event::BufferReleased);
        self.contents[at].clear();
    }

    fn request(&mut self, at: usize) {
        if self.buffers_free == 0 {
            self.queue.push_back(at);
            self.apply_event(at, Event::BufferDenied);
            return;
        }
        self.buffers_free -= 1;
        self.enter_buffer(at);
    }

    fn enter_buffer(&mut self, at: usize) {
        self.slots_free += u32::from(self.connections[at].hold() == Hold::Slot);
        self.apply_event(at, Event::BufferGranted { capacity: BUFFER_BYTES });
    }

    fn cancel(&mut self, at: usize) {
        self.queue.retain(|&waiter| waiter != at);
        if let Some(place) = self.granted.iter().position(|&waiter| waiter == at) {
            self.granted.remove(place);
            self.give_buffer();
        }
        if std::mem::take(&mut self.kept[at]) {
            self.give_buffer();
        }
        self.apply_event(at, Event::done(Action::CancelRequest));
    }

    /// Does what is asked about buffers; undecoded bytes are parked when a slot is free.
    fn settle(&mut self, at: usize) -> Actions {
        for _ in 0..STEPS_PER_TURN_MAX {
            let actions = self.connections[at].pending();
            if actions.has(Action::Discard) {
                let bytes = self.connections[at].buffered_bytes();
                self.apply_event(at, Event::Consumed { bytes });
            } else if actions.has(Action::CancelRequest) {
                self.cancel(at);
            } else if actions.has(Action::ReleaseBuffer) {
                self.release(at);
            } else if actions.has(Action::RequestBuffer) {
                self.request(at);
            } else if actions.has(Action::Park) && self.slots_free > 0 {
                self.slots_free -= 1;
                self.give_buffer();
                self.apply_event(at, Event::BufferParked { capacity: SLOT_BYTES });
            } else {
                return actions.without(Action::Park.into());
            }
        }
        panic!("the machine never comes to rest: {:?}", self.connections[at]);
    }
}

impl Side for Bare {
    fn handle(&mut self, at: usize, event: Event) -> Actions {
        self.apply_event(at, event);
        if self.kept[at] && !self.connections[at].is_in_flight() {
            self.kept[at] = false;
            self.enter_buffer(at);
        }
        self.settle(at)
    }

    fn pending(&self, at: usize) -> Actions {
        self.connections[at].pending().without(Action::Park.into())
    }

    fn connection(&self, at: usize) -> &Connection {
        &self.connections[at]
    }

    fn data(&self, at: usize) -> Vec<u8> {
        self.contents[at].clone()
    }

    fn receive_area(&mut self, at: usize) -> &mut [u8] {
        &mut self.areas[..self.connections[at].recv_max() as usize]
    }

    fn submit(&mut self, at: usize) {
        assert!(self.connections[at].recv_max() > 0, "a receive of nothing");
        self.handle(at, Event::done(Action::Recv));
    }

    fn submitted_bytes(&self, at: usize) -> usize {
        (self.connections[at].capacity() - self.connections[at].buffered_bytes()) as usize
    }

    fn complete(&mut self, at: usize, bytes: &[u8]) {
        self.areas[..bytes.len()].copy_from_slice(bytes);
        self.handle(at, Event::Received { bytes: bytes.len() as u32 });
    }

    fn next_grant(&mut self) -> Option<usize> {
        let at = self.granted.pop_front()?;
        if self.connections[at].is_in_flight() {
            self.kept[at] = true;
            self.apply_event(at, Event::ReclaimRequested);
        } else {
            self.enter_buffer(at);
        }
        self.settle(at);
        Some(at)
    }

    fn take(&mut self, at: usize) -> Option<Vec<u8>> {
        if self.connections[at].hold() != Hold::Buffer || self.connections[at].is_in_flight() {
            return None;
        }
        let bytes = self.contents[at].clone();
        self.release(at);
        self.settle(at);
        Some(bytes)
    }

    fn close(&mut self, at: usize) {
        assert_eq!(self.handle(at, Event::Close), Action::Finished.into());
    }

    fn check(&self) {
        assert!(self.buffers_free == 0 || self.queue.is_empty(), "a buffer is free while a request waits");
        let assigned = (self.granted.len() + self.kept.iter().filter(|&&kept| kept).count()) as u32;
        let held = self.connections.iter().filter(|connection| connection.hold() != Hold::None).count() as u32;
        assert_eq!(
            self.buffers_free + self.slots_free + held + assigned,
            self.held_max,
            "every place is accounted for"
        );
    }

    fn held(&self) -> u32 {
        self.held_max - self.buffers_free - self.slots_free
    }
}
