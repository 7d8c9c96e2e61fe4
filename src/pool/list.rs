//! Lists through a table: doubly linked by index, so that an entry leaves from anywhere in O(1), in safe Rust.

/// No entry.
pub(super) const NIL: u32 = u32::MAX;

/// The neighbours of an entry in the one list it may be in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) next: u32,
    pub(super) prev: u32,
}

impl Links {
    pub(super) const NONE: Links = Links { next: NIL, prev: NIL };
}

/// An entry of a table that can be in a list. `RING` tells apart the lists an entry can be in at the same time.
pub(super) trait Linked<const RING: usize = 0> {
    fn links(&self) -> &Links;
    fn links_mut(&mut self) -> &mut Links;
}

/// First in, first out.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<const RING: usize = 0> {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) len: u32,
}

impl<const RING: usize> List<RING> {
    pub(super) const EMPTY: Self = List { head: NIL, tail: NIL, len: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    pub(super) fn push_back<T: Linked<RING>>(&mut self, table: &mut [T], index: u32) {
        *table[index as usize].links_mut() = Links { next: NIL, prev: self.tail };
        match self.tail {
            NIL => self.head = index,
            tail => table[tail as usize].links_mut().next = index,
        }
        self.tail = index;
        self.len += 1;
    }

    pub(super) fn unlink<T: Linked<RING>>(&mut self, table: &mut [T], index: u32) {
        let Links { next, prev } = *table[index as usize].links();
        match prev {
            NIL => self.head = next,
            prev => table[prev as usize].links_mut().next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => table[next as usize].links_mut().prev = prev,
        }
        self.len -= 1;
    }

    /// The entries from the front.
    pub(super) fn iter<T: Linked<RING>>(self, table: &[T]) -> impl Iterator<Item = u32> {
        let link = |index: u32| (index != NIL).then_some(index);
        core::iter::successors(link(self.head), move |&index| link(table[index as usize].links().next))
    }

    /// Whether the links are those of a list of `len` entries for which `belongs` holds; for tests.
    pub(super) fn is_sound<T: Linked<RING>>(&self, table: &[T], belongs: impl Fn(u32, &T) -> bool) -> bool {
        let (mut at, mut prev, mut seen) = (self.head, NIL, 0);
        while at != NIL && seen <= self.len {
            let Some(entry) = table.get(at as usize) else {
                return false;
            };
            if entry.links().prev != prev || !belongs(at, entry) {
                return false;
            }
            (prev, at, seen) = (at, entry.links().next, seen + 1);
        }
        at == NIL && prev == self.tail && seen == self.len
    }
}
