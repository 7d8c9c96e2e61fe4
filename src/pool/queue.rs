//! The table of waits and the queues in it: doubly linked by index, so that a wait leaves from anywhere in O(1).

use super::id::{Generation, WaitId};

/// No entry.
pub(super) const NIL: u32 = u32::MAX;

/// What a wait entry is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitState {
    Free,
    Queued,
    Assigned,
}

/// One place in a queue, or a link of the free list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) token: u64,
    pub(super) since_ns: u64,
    /// Queued: the class's count of grants at the start. Assigned: the grants that passed.
    pub(super) passed: u64,
    pub(super) next: u32,
    pub(super) prev: u32,
    /// Index of the buffer that was assigned.
    pub(super) buffer: u32,
    pub(super) generation: Generation,
    pub(super) class: u8,
    pub(super) state: WaitState,
}

impl Wait {
    pub(super) fn unused(next: u32, tag: u8) -> Wait {
        Wait {
            token: 0,
            since_ns: 0,
            passed: 0,
            next,
            prev: NIL,
            buffer: NIL,
            generation: Generation::first(tag),
            class: 0,
            state: WaitState::Free,
        }
    }

    pub(super) fn id(&self, index: u32) -> WaitId {
        WaitId::new(index, self.generation)
    }
}

/// First in, first out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) len: u32,
}

impl Queue {
    pub(super) const EMPTY: Queue = Queue { head: NIL, tail: NIL, len: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    pub(super) fn push_back(&mut self, waits: &mut [Wait], index: u32) {
        waits[index as usize].next = NIL;
        waits[index as usize].prev = self.tail;
        match self.tail {
            NIL => self.head = index,
            tail => waits[tail as usize].next = index,
        }
        self.tail = index;
        self.len += 1;
    }

    pub(super) fn unlink(&mut self, waits: &mut [Wait], index: u32) {
        let Wait { next, prev, .. } = waits[index as usize];
        match prev {
            NIL => self.head = next,
            prev => waits[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => waits[next as usize].prev = prev,
        }
        self.len -= 1;
    }

    /// Whether the links are those of a list of `len` entries in this state; for tests.
    pub(super) fn is_sound(&self, waits: &[Wait], state: WaitState) -> bool {
        let (mut at, mut prev, mut seen) = (self.head, NIL, 0);
        while at != NIL && seen <= self.len {
            let Some(wait) = waits.get(at as usize) else {
                return false;
            };
            if wait.prev != prev || wait.state != state {
                return false;
            }
            (prev, at, seen) = (at, wait.next, seen + 1);
        }
        at == NIL && prev == self.tail && seen == self.len
    }
}
