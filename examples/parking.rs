//! The cost of parking for the pool, measured: slots with memory of their own, as the library has them, beside the
//! other way, buffers of the pool that are cut into pieces.
//!
//! `cargo run --release --example parking -- --seed 1` parks as many partial frames as fill the buffers, lets most of
//! them leave in any order, then come and go at that number, and prints how many buffers the pool misses meanwhile. The
//! other way puts each partial frame into the fullest of the cut buffers that has room, which keeps the fewest of them
//! cut.

use clap::Parser;
use demuxbuf::memory::{BUFFER_BYTES_DEFAULT, SLOT_SIZES, SlotIndex, Slots};

#[derive(Parser)]
struct Arguments {
    /// Chooses the run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Buffers that the partial frames of the peak would fill.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    buffers: u32,
}

/// Buffers of the pool, cut into pieces of one size.
struct Cut {
    /// By buffer: pieces in use. A buffer with none belongs to the pool.
    pieces: Vec<u32>,
    pieces_max: u32,
}

impl Cut {
    fn new(slot_bytes: usize) -> Cut {
        Cut { pieces: Vec::new(), pieces_max: BUFFER_BYTES_DEFAULT / slot_bytes as u32 }
    }

    /// Takes a piece; returns its buffer.
    fn take(&mut self) -> usize {
        let cut = (0..self.pieces.len()).filter(|&at| (1..self.pieces_max).contains(&self.pieces[at]));
        let at = cut.max_by_key(|&at| self.pieces[at]).or_else(|| self.pieces.iter().position(|&pieces| pieces == 0));
        let at = at.unwrap_or_else(|| {
            self.pieces.push(0);
            self.pieces.len() - 1
        });
        self.pieces[at] += 1;
        at
    }

    fn give(&mut self, at: usize) {
        self.pieces[at] -= 1;
    }

    /// Buffers that the pool does not have.
    fn missing(&self) -> usize {
        self.pieces.iter().filter(|&&pieces| pieces > 0).count()
    }
}

/// Partial frames that are parked in both ways at once.
struct Parked {
    slots: Slots,
    cut: Cut,
    parts: Vec<(SlotIndex, usize)>,
    slot_bytes: usize,
}

impl Parked {
    fn park(&mut self) {
        let slot = self.slots.take(self.slot_bytes).expect("there is a slot for each");
        self.parts.push((slot, self.cut.take()));
    }

    fn leave(&mut self, rng: &mut fastrand::Rng) {
        let (slot, buffer) = self.parts.swap_remove(rng.usize(..self.parts.len()));
        self.slots.give(slot).expect("it was taken");
        self.cut.give(buffer);
    }
}

fn main() {
    let Arguments { seed, buffers } = Arguments::parse();
    println!(
        "Partial frames that fill {buffers} buffers at the peak: how many buffers the pool misses, if they are cut up."
    );
    println!(
        "With slots of their own it misses none, and they take as much memory beside it as the partial frames of the peak.\n"
    );
    println!("{:>10} {:>10} {:>10} {:>10} {:>10}", "slot", "at peak", "50 % left", "10 % left", "1 % left");
    let least = [1, 2, 10, 100].map(|part| buffers.div_ceil(part));
    println!("{:>10} {:>10} {:>10} {:>10} {:>10}", "at least", least[0], least[1], least[2], least[3]);
    for (at, &slot_bytes) in SLOT_SIZES.iter().enumerate() {
        let mut rng = fastrand::Rng::with_seed(seed);
        let peak = (buffers * BUFFER_BYTES_DEFAULT) as usize / slot_bytes;
        let mut counts = [0; SLOT_SIZES.len()];
        counts[at] = peak as u32;
        let slots = Slots::new(counts).expect("there is memory for the slots");
        let mut parked = Parked { slots, cut: Cut::new(slot_bytes), parts: Vec::new(), slot_bytes };
        (0..peak).for_each(|_| parked.park());
        let mut missing = vec![parked.cut.missing()];
        for left in [peak / 2, peak / 10, peak / 100] {
            while parked.parts.len() > left {
                parked.leave(&mut rng);
            }
            // They come and go for a while, as many as there are.
            for _ in 0..left {
                parked.leave(&mut rng);
                parked.park();
            }
            assert_eq!(parked.slots.in_use() as usize, left);
            missing.push(parked.cut.missing());
        }
        println!("{slot_bytes:>10} {:>10} {:>10} {:>10} {:>10}", missing[0], missing[1], missing[2], missing[3]);
    }
}
