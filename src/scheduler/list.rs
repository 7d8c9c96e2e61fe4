//! Lists through a table: doubly linked by index, so that an entry leaves from anywhere in O(1), in safe Rust.

/// No entry.
pub(crate) const NIL: u32 = u32::MAX;

/// The neighbours of an entry in the one list it may be in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    pub(crate) next: u32,
    pub(crate) prev: u32,
}

impl Links {
    pub(crate) const NONE: Links = Links { next: NIL, prev: NIL };
}

/// An entry of a table that can be in a list. `RING` tells apart the lists an entry can be in at the same time.
pub(crate) trait Linked<const RING: usize = 0> {
    fn links(&self) -> &Links;
    fn links_mut(&mut self) -> &mut Links;
}

/// First in, first out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<const RING: usize = 0> {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) len: u32,
}

impl<const RING: usize> List<RING> {
    pub(crate) const EMPTY: Self = List { head: NIL, tail: NIL, len: 0 };

    pub(crate) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    pub(crate) fn first(&self) -> Option<u32> {
        (!self.is_empty()).then_some(self.head)
    }

    #[inline]
    pub(crate) fn push_back<T: Linked<RING>>(&mut self, table: &mut [T], index: u32) {
        *table[index as usize].links_mut() = Links { next: NIL, prev: self.tail };
        match self.tail {
            NIL => self.head = index,
            tail => table[tail as usize].links_mut().next = index,
        }
        self.tail = index;
        self.len += 1;
    }

    /// In front of another entry.
    #[cfg(feature = "std")]
    pub(crate) fn insert_before<T: Linked<RING>>(&mut self, table: &mut [T], index: u32, next: u32) {
        let prev = core::mem::replace(&mut table[next as usize].links_mut().prev, index);
        *table[index as usize].links_mut() = Links { next, prev };
        match prev {
            NIL => self.head = index,
            prev => table[prev as usize].links_mut().next = index,
        }
        self.len += 1;
    }

    #[inline]
    pub(crate) fn unlink<T: Linked<RING>>(&mut self, table: &mut [T], index: u32) {
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
    pub(crate) fn iter<T: Linked<RING>>(self, table: &[T]) -> impl Iterator<Item = u32> {
        let link = |index: u32| (index != NIL).then_some(index);
        core::iter::successors(self.first(), move |&index| link(table[index as usize].links().next))
    }

    /// The place of an entry, from 1; 0 if it is not in the list.
    #[cfg(feature = "model-check")]
    pub(crate) fn place_of<T: Linked<RING>>(self, table: &[T], index: u32) -> u64 {
        self.iter(table).position(|entry| entry == index).map_or(0, |at| at as u64 + 1)
    }

    /// Whether the links are those of a list of `len` entries for which `belongs` holds; for tests.
    pub(crate) fn is_sound<T: Linked<RING>>(&self, table: &[T], belongs: impl Fn(u32, &T) -> bool) -> bool {
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
        prev == self.tail && seen == self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Linked for Links {
        fn links(&self) -> &Links {
            self
        }

        fn links_mut(&mut self) -> &mut Links {
            self
        }
    }

    /// Entries 0, 2 and 1 in this order, and entry 3 in no list.
    fn three() -> (List, [Links; 4]) {
        let (mut list, mut table): (List, _) = (List::EMPTY, [Links::NONE; 4]);
        [0, 2, 1].into_iter().for_each(|index| list.push_back(&mut table, index));
        (list, table)
    }

    #[test]
    fn unlink_keeps_the_order_of_the_rest() {
        for (leaves, left) in [(0, [2, 1]), (2, [0, 1]), (1, [0, 2])] {
            let (mut list, mut table) = three();
            list.unlink(&mut table, leaves);
            assert!(list.iter(&table).eq(left));
            assert!(list.is_sound(&table, |index, _| left.contains(&index)));
        }
    }

    #[test]
    fn a_list_with_a_wrong_link_or_count_is_not_sound() {
        let is_sound = |(list, table): &(List, [Links; 4])| list.is_sound(table, |index, _| index != 3);
        assert!(is_sound(&three()));
        let broken: [fn(&mut List, &mut [Links; 4]); 8] = [
            |list, _| list.len = 2,
            |list, _| list.len = 4,
            |list, _| list.tail = 2,
            |list, _| (list.tail, list.len) = (2, 2),
            |_, table| table[2].prev = 1,
            |_, table| table[2].next = 4,
            |_, table| table[1].next = 0,
            |list, table| list.push_back(table, 3),
        ];
        for (case, breaks) in broken.into_iter().enumerate() {
            let mut three = three();
            breaks(&mut three.0, &mut three.1);
            assert!(!is_sound(&three), "case {case}");
        }
    }
}
