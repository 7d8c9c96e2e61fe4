//! Where bytes lie: the split, free buffers, cells, credit, leftovers, eviction.

use super::{CREDIT_MAX, ModelReceiving, Place, Reason};
use crate::receiving_system::ReceivingConfig;

/// What the memory is cut into.
pub(super) struct Split {
    pub(super) buffers: u32,
    pub(super) header_buffers: u32,
    pub(super) header_cells: u32,
    pub(super) in_flight_max: u32,
    pub(super) sizes: Vec<u32>,
}

impl Split {
    /// Of memory that this many threads share: what one of them has.
    pub(super) fn new(config: &ReceivingConfig, threads: u32) -> Result<Split, String> {
        let ReceivingConfig {
            memory_bytes,
            buffer_bytes,
            receivers_max,
            frame_grace_ns,
            blocked_ns,
            in_flight_max,
            ..
        } = *config;
        if buffer_bytes < 128 || buffer_bytes % 64 != 0 {
            return Err(format!("buffer_bytes is {buffer_bytes}; at least 128 and a multiple of 64 is allowed"));
        }
        if frame_grace_ns < 8 || blocked_ns < 8 {
            return Err(format!("frame_grace_ns is {frame_grace_ns}, blocked_ns {blocked_ns}; at least 8 is allowed"));
        }
        let buffers = u32::try_from(memory_bytes / u64::from(buffer_bytes)).map_err(|_| "memory_bytes is too large")?;
        let whole_bytes = u64::from(buffers) * u64::from(buffer_bytes);
        let header_cells = u64::from(receivers_max).min(whole_bytes / (512 * u64::from(threads))) as u32;
        let header_buffers = header_cells.div_ceil(buffer_bytes / 64);
        let least = (8 * threads).max(threads * (1 + header_buffers) + threads + 1);
        if buffers < least {
            return Err(format!(
                "memory_bytes has {buffers} buffers of {buffer_bytes} bytes; at least {least} are needed"
            ));
        }
        if in_flight_max > buffers {
            return Err(format!("in_flight_max is {in_flight_max}; at most {buffers} is allowed"));
        }
        let in_flight_max = if in_flight_max == 0 { 1.max(buffers / 8 / threads) } else { in_flight_max };
        Ok(Split { buffers, header_buffers, header_cells, in_flight_max, sizes: sizes(buffer_bytes) })
    }
}

fn sizes(buffer_bytes: u32) -> Vec<u32> {
    let half = buffer_bytes / 2 / 64 * 64;
    let mut sizes = vec![64];
    sizes.extend([256, 1_024, 4_096].into_iter().filter(|size| 2 * size < buffer_bytes));
    sizes.extend(Some(half).filter(|&half| half > 64));
    sizes.push(buffer_bytes);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

impl ModelReceiving {
    /// How many cells of a size are used.
    pub(super) fn cells(&self, size: usize) -> u32 {
        self.live().filter(|(_, receiver)| receiver.cell == Some(size)).count() as u32
    }

    fn cells_of_buffer(&self, size: usize) -> u32 {
        self.config.buffer_bytes / self.sizes[size]
    }

    /// Buffers that nothing uses.
    pub(super) fn free(&self) -> u32 {
        let all = self.requests.as_ref().map_or(self.usable_buffers - self.leases, super::Requests::reachable);
        all - self.used()
    }

    /// Buffers that are cut, whole cells, or borrowed.
    pub(super) fn used(&self) -> u32 {
        let cut: u32 = (1..self.sizes.len()).map(|size| self.cells(size).div_ceil(self.cells_of_buffer(size))).sum();
        cut + self.borrows_of(Place::FreeBuffer)
    }

    /// Each buffer that is used is taken, and no other is.
    pub(super) fn settle_buffers(&mut self) {
        let taken = self.used() + u32::from(self.ending.is_some());
        if let Some(requests) = &mut self.requests {
            requests.settle(taken);
        }
    }

    pub(super) fn borrows_of(&self, place: Place) -> u32 {
        let is_there = |borrow: &super::Borrow| borrow.place == place;
        self.live().filter(|(_, receiver)| receiver.borrow.as_ref().is_some_and(is_there)).count() as u32
    }

    /// Free buffers that neither a further borrow nor the host gets: one, for what a borrow of the receive buffer
    /// leaves.
    pub(super) fn set_aside(&self) -> u32 {
        self.borrows_of(Place::ReceiveBuffer)
    }

    /// Where a receiver borrows, and how many buffers are free then.
    pub(super) fn place_to_borrow(&self, id: u32) -> Option<(Place, u32)> {
        let free = self.free();
        if self.receiver(id).cell == Some(self.sizes.len() - 1) {
            Some((Place::OwnCell, free))
        } else if self.borrows_of(Place::ReceiveBuffer) == 0 {
            Some((Place::ReceiveBuffer, free))
        } else if free > self.set_aside() {
            Some((Place::FreeBuffer, free - 1))
        } else {
            None
        }
    }

    /// The smallest size, above 64 bytes if so asked, that fits.
    pub(super) fn size_for(&self, bytes: u32, above_64: bool) -> usize {
        let from = usize::from(above_64);
        let fits = (from..self.sizes.len()).find(|&size| self.sizes[size] >= bytes);
        fits.expect("no content is larger than a buffer")
    }

    /// The charge for its cell that is not settled yet.
    fn charge(&self, id: u32) -> i64 {
        let receiver = self.receiver(id);
        let cell_bytes = match receiver.is_in_flight() {
            true => self.config.buffer_bytes,
            false => receiver.cell.filter(|&cell| cell > 0).map_or(0, |cell| self.sizes[cell]),
        };
        let charge = u128::from(cell_bytes) * u128::from(self.now - receiver.charged_at) / 1_000_000_000;
        charge.min(1 << 40) as i64
    }

    pub(super) fn credit_now(&self, id: u32) -> i64 {
        (self.receiver(id).credit - self.charge(id)).max(-CREDIT_MAX)
    }

    pub(super) fn settle_charge(&mut self, id: u32) {
        let (credit, now) = (self.credit_now(id), self.now);
        let receiver = self.receiver_mut(id);
        (receiver.credit, receiver.charged_at) = (credit, now);
    }

    pub(super) fn is_in_credit(&self, id: u32) -> bool {
        let cell_bytes = self.sizes[self.size_for(self.length(id), true)];
        self.credit_now(id) >= (2 * i64::from(cell_bytes)).min(CREDIT_MAX)
    }

    /// With this number of free buffers.
    pub(super) fn is_in_shortage(&self, id: u32, free: u32) -> bool {
        let is_capped = self.is_capped(self.receiver(id).tenant);
        free == 0 || (free <= self.reserve && !self.is_in_credit(id)) || self.is_at_limit(id) || is_capped
    }

    /// How many buffers must be left for others.
    pub(super) fn floor(&self, id: u32) -> u32 {
        if self.is_in_credit(id) { 0 } else { self.reserve }
    }

    /// Whether one more cell of a size needs no free buffer.
    pub(super) fn has_hole(&self, size: usize) -> bool {
        match size {
            0 => self.cells(0) < self.header_cells,
            _ => self.cells(size) % self.cells_of_buffer(size) != 0,
        }
    }

    pub(super) fn has_room(&self, size: usize, floor: u32) -> bool {
        if size == 0 {
            return self.cells(0) < self.header_cells;
        }
        self.cells(size) % self.cells_of_buffer(size) != 0 || self.free() > floor
    }

    pub(super) fn set_cell(&mut self, id: u32, cell: Option<usize>) {
        if self.receiver(id).cell != cell {
            self.settle_charge(id);
            self.receiver_mut(id).cell = cell;
        }
    }

    /// Puts what a receiver that does not borrow keeps into a cell that fits `want` too. If that fails, its cell is
    /// what it was.
    pub(super) fn keep(&mut self, id: u32, want: u32) -> bool {
        let (bytes, own) = (self.receiver(id).kept().max(want), self.receiver(id).cell);
        let smallest = self.size_for(bytes, false);
        let fits = own.is_some_and(|own| self.sizes[own] >= bytes);
        if fits && (own == Some(smallest) || self.free() <= self.reserve) {
            self.end_keeping();
            return true;
        }
        if want > 0 && self.is_capped(self.receiver(id).tenant) {
            return fits;
        }
        // Where there would be room if its own cell were free.
        self.receiver_mut(id).cell = None;
        let found = (smallest..self.sizes.len()).find(|&size| self.has_room(size, 0));
        self.receiver_mut(id).cell = own;
        if found.is_some() {
            self.set_cell(id, found);
        }
        let is_kept = found.is_some() || fits;
        if is_kept {
            self.end_keeping();
        }
        is_kept
    }

    /// What a borrow left has its place.
    fn end_keeping(&mut self) {
        self.ending = None;
        self.settle_buffers();
    }

    /// Keeps what a borrow left, if need be in the room of others; false if there is none.
    pub(super) fn keep_leftovers(&mut self, id: u32) -> bool {
        if self.receiver(id).bytes.is_empty() {
            self.set_cell(id, None);
            self.end_keeping();
            return true;
        }
        while !self.keep(id, 0) {
            if !self.evict(Some(id)) {
                return false;
            }
        }
        true
    }

    /// Content that may be evicted now, in the order in which it is.
    pub(super) fn evictable(&self, except: Option<u32>) -> Vec<u32> {
        let mut victims: Vec<(u64, u32)> = self
            .live()
            .filter(|&(id, receiver)| Some(id) != except && receiver.borrow.is_none() && receiver.claim_since.is_none())
            .filter(|(_, receiver)| receiver.mark.is_none() && receiver.cell.is_some_and(|cell| cell > 0))
            .filter_map(|(id, _)| self.evictable_from(id).map(|from| (from, id)))
            .filter(|&(from, _)| from <= self.before)
            .collect();
        victims.sort_unstable();
        victims.into_iter().map(|(_, id)| id).take(self.evictions_left as usize).collect()
    }

    /// Evicts one receiver; false if none may be.
    pub(super) fn evict(&mut self, except: Option<u32>) -> bool {
        let Some(&victim) = self.evictable(except).first() else {
            return false;
        };
        self.evictions_left -= 1;
        self.counts.evictions += 1;
        self.shed(victim, Reason::Evicted, None);
        self.notify_shed(victim);
        true
    }
}
