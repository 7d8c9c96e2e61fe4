//! The machine alone, in a host that has its own buffers, slots and queue.

use super::sides::Side;
use super::{BUFFER_BYTES, CONNECTIONS, Settings};
use demuxbuf::connection::{Action, Actions, Connection, Event, Hold};
use std::collections::VecDeque;
use std::ops::Range;

const SLOT_BYTES: u32 = 64;
/// Far more than one event can cause: a machine that asks for more never comes to rest.
const STEPS_MAX: u32 = 1_000;

/// What a connection holds: which block, and where in it the content starts.
#[derive(Clone, Copy)]
struct Place {
    block: usize,
    offset: usize,
}

/// Buffers and slots are blocks of memory, which the host lends to its connections.
pub(super) struct Bare {
    connections: Vec<Connection>,
    blocks: Vec<Box<[u8]>>,
    places: [Option<Place>; CONNECTIONS],
    free_buffers: Vec<usize>,
    free_slots: Vec<usize>,
    queue: VecDeque<usize>,
    /// Waiters that have a buffer, and which.
    granted: VecDeque<(usize, usize)>,
    /// The buffers that cannot be used before the receive in flight into a slot is over.
    deferred: [Option<usize>; CONNECTIONS],
}

impl Bare {
    pub(super) fn new(settings: &Settings) -> Bare {
        let (buffers, slots) = (settings.buffers as usize, settings.slots as usize);
        let bytes = |block| if block < buffers { BUFFER_BYTES } else { SLOT_BYTES };
        let mut side = Bare {
            connections: vec![Connection::new(settings.policy); CONNECTIONS],
            blocks: (0..buffers + slots).map(|block| vec![0; bytes(block) as usize].into()).collect(),
            places: [None; CONNECTIONS],
            free_buffers: (0..buffers).collect(),
            free_slots: (buffers..buffers + slots).collect(),
            queue: VecDeque::new(),
            granted: VecDeque::new(),
            deferred: [None; CONNECTIONS],
        };
        for at in 0..CONNECTIONS {
            side.handle(at, Event::Attach { buffered_bytes: 0, capacity: 0 });
        }
        side
    }

    fn apply_event(&mut self, at: usize, event: Event) -> Actions {
        let actions = self.connections[at].handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
        if let (Event::Consumed { bytes }, Some(place)) = (event, &mut self.places[at]) {
            place.offset += bytes as usize;
        }
        actions
    }

    fn content(&self, at: usize) -> Range<usize> {
        let offset = self.places[at].map_or(0, |place| place.offset);
        offset..offset + self.connections[at].buffered_bytes() as usize
    }

    /// The content moves to the front of this block; the block where it was is the host's again.
    fn enter(&mut self, at: usize, block: usize) {
        let content = self.data(at).to_vec();
        self.blocks[block][..content.len()].copy_from_slice(&content);
        let left = self.places[at].replace(Place { block, offset: 0 });
        if let Some(place) = left {
            self.give(place.block);
        }
    }

    fn give(&mut self, block: usize) {
        if self.blocks[block].len() == SLOT_BYTES as usize {
            self.free_slots.push(block);
        } else if let Some(waiter) = self.queue.pop_front() {
            self.granted.push_back((waiter, block));
        } else {
            self.free_buffers.push(block);
        }
    }

    fn release(&mut self, at: usize) {
        let place = self.places[at].take().expect("nothing is held that could be released");
        self.apply_event(at, Event::BufferReleased);
        self.give(place.block);
    }

    fn request(&mut self, at: usize) {
        match self.free_buffers.pop() {
            Some(block) => self.enter_buffer(at, block),
            None => {
                self.queue.push_back(at);
                self.apply_event(at, Event::BufferDenied);
            }
        }
    }

    fn enter_buffer(&mut self, at: usize, block: usize) {
        self.enter(at, block);
        self.apply_event(at, Event::BufferGranted { capacity: BUFFER_BYTES });
    }

    fn cancel(&mut self, at: usize) {
        self.queue.retain(|&waiter| waiter != at);
        if let Some(place) = self.granted.iter().position(|&(waiter, _)| waiter == at) {
            let (_, block) = self.granted.remove(place).expect("it was found");
            self.give(block);
        }
        if let Some(block) = self.deferred[at].take() {
            self.give(block);
        }
        self.apply_event(at, Event::done(Action::CancelRequest));
    }

    /// Does what is asked about buffers; undecoded bytes are parked when a slot is free.
    fn settle(&mut self, at: usize) -> Actions {
        for _ in 0..STEPS_MAX {
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
            } else if actions.has(Action::Park) && !self.free_slots.is_empty() {
                let slot = self.free_slots.pop().expect("one is free");
                self.enter(at, slot);
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
        if !self.connections[at].is_in_flight() {
            if let Some(block) = self.deferred[at].take() {
                self.enter_buffer(at, block);
            }
        }
        self.settle(at)
    }

    fn pending(&self, at: usize) -> Actions {
        self.connections[at].pending().without(Action::Park.into())
    }

    fn connection(&self, at: usize) -> Connection {
        self.connections[at].clone()
    }

    fn data(&self, at: usize) -> &[u8] {
        self.places[at].map_or(&[], |place| &self.blocks[place.block][self.content(at)])
    }

    /// Behind the content, which moves to the front. Nothing moves while a receive is in flight, since no other is
    /// pending then.
    fn receive_area(&mut self, at: usize) -> &mut [u8] {
        let (content, room) = (self.content(at), self.connections[at].recv_max() as usize);
        let place = self.places[at].as_mut().expect("a receive is pending, so there is memory for it");
        place.offset = 0;
        let block = &mut self.blocks[place.block];
        let end = content.len();
        block.copy_within(content, 0);
        &mut block[end..][..room]
    }

    fn next_grant(&mut self) -> Option<usize> {
        let (at, block) = self.granted.pop_front()?;
        if self.connections[at].is_in_flight() {
            self.deferred[at] = Some(block);
            self.apply_event(at, Event::ReclaimRequested);
        } else {
            self.enter_buffer(at, block);
        }
        self.settle(at);
        Some(at)
    }

    fn take(&mut self, at: usize) -> Option<Vec<u8>> {
        if self.connections[at].hold() != Hold::Buffer || self.connections[at].is_in_flight() {
            return None;
        }
        let bytes = self.data(at).to_vec();
        self.release(at);
        self.settle(at);
        Some(bytes)
    }

    fn check(&self) {
        assert!(self.free_buffers.is_empty() || self.queue.is_empty(), "a buffer is free while a request waits");
        let mut blocks: Vec<usize> = [&self.free_buffers, &self.free_slots].into_iter().flatten().copied().collect();
        blocks.extend(self.granted.iter().map(|&(_, block)| block));
        blocks.extend(self.deferred.iter().flatten());
        blocks.extend(self.places.iter().flatten().map(|place| place.block));
        blocks.sort_unstable();
        assert!(blocks.into_iter().eq(0..self.blocks.len()), "every place is accounted for, once");
        for (place, connection) in self.places.iter().zip(&self.connections) {
            let capacity = place.map_or(0, |place| self.blocks[place.block].len() as u32);
            assert_eq!(connection.capacity(), capacity, "the machine knows what is held");
        }
    }

    fn held(&self) -> u32 {
        (self.blocks.len() - self.free_buffers.len() - self.free_slots.len()) as u32
    }
}
